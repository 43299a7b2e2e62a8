from .errors import UserError as UserError
from .exporting.directory import export_model as export_model
from .exporting.keras_files import load_keras_weights as load_keras_weights
from .inference.classifier import Classifier as Classifier
from .inference.classifier import load as load
from .inference.fit import fit as fit
from .models import CNN as CNN
from .models import LSTM as LSTM
from .models import MLP as MLP
from .models import EmbeddingMLP as EmbeddingMLP
from .models import Ngram as Ngram
from .models import Pooled as Pooled
from .models.inputs import Batch as Batch
from .pipeline.keras_imdb import get_word_index as get_word_index
from .pipeline.keras_imdb import load_data as load_data
from .text.ngrams import NgramVocabulary as NgramVocabulary
from .text.sequences import multi_hot as multi_hot
from .text.sequences import pad_sequences as pad_sequences
from .text.tokens import tokenize as tokenize
from .text.vocabulary import Vocabulary as Vocabulary
from .training.step import create_train_state as create_train_state
from .training.step import eval_step as eval_step
from .training.step import train_step as train_step

__version__: str
