from .classifier import load as load
from .errors import UserError as UserError
from .keras_files import load_keras_weights as load_keras_weights
from .keras_imdb import get_word_index as get_word_index
from .keras_imdb import load_data as load_data
from .models import CNN as CNN
from .models import LSTM as LSTM
from .models import MLP as MLP
from .models import EmbeddingMLP as EmbeddingMLP
from .models import Pooled as Pooled
from .models.inputs import Batch as Batch
from .step import create_train_state as create_train_state
from .step import eval_step as eval_step
from .step import train_step as train_step
from .text.sequences import multi_hot as multi_hot
from .text.sequences import pad_sequences as pad_sequences
from .text.tokens import tokenize as tokenize
from .text.vocabulary import Vocabulary as Vocabulary

__version__: str
