from .classifier import load as load
from .corpus import get_word_index as get_word_index
from .corpus import load_data as load_data
from .encoding import Vocabulary as Vocabulary
from .encoding import multi_hot as multi_hot
from .encoding import pad_sequences as pad_sequences
from .encoding import tokenize as tokenize
from .errors import UserError as UserError
from .keras_files import load_keras_weights as load_keras_weights
from .models import CNN as CNN
from .models import LSTM as LSTM
from .models import MLP as MLP
from .models import EmbeddingMLP as EmbeddingMLP
from .models import Pooled as Pooled
from .models.inputs import Batch as Batch
from .step import create_train_state as create_train_state
from .step import eval_step as eval_step
from .step import train_step as train_step

__version__: str
