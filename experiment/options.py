"""Every option of a training, with its meaning: the one place that `--help`, config.json and the README follow."""

import dataclasses
from pathlib import Path
from typing import Literal

from data import own_folder
from experiment.own_network import is_reference, parse_target


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a network; everything that decides the numbers, in one place."""

    model: str = "lenet5"
    """Network, see --list-models; or one of your own: my_net.py:Net, package.module:Net or my_net.py:Net(width=64)."""
    input_shape: str | None = None
    """Shape of the inputs, channels last: 64,64,3 or 8000,1; of a network of your own, or of one that takes any size
    (docs/networks.md). Default: the network's, else the shape of the dataset's examples."""
    dataset: str = "digits"
    """Dataset, see --list-datasets; or the path of a folder of pictures or sounds."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: $JAXNETS_DATA, else ~/.cache/jaxnets."""
    cache_dir: Path | None = None
    """Folder of the decoded files of own folders, see `python -m data cache`. Default: $JAXNETS_CACHE, else
    jaxnets/decoded in $XDG_CACHE_HOME or ~/.cache."""
    on_bad_file: Literal["stop", "skip"] = "stop"
    """When files of an own folder cannot be read: stop and name them, or leave them out and say so."""
    validation_share: float = 0.1
    """Share of the training examples that is split off for validation, unless the dataset has a validation set."""
    split_seed: int = 0
    """Of the choice of those examples."""
    fold: str | None = None
    """Cross-validation: part i of k, as 1/5, of the training examples is for validation instead of a share."""
    data_rules: Literal["current", "0.1"] = "current"
    """How own folders and long clips are read and validation examples are chosen; 0.1 as version 0.1.0 did, whose
    runs keep it."""
    clip_seconds: float = 0.0
    """Length of the examples of an own folder of sounds; shorter files are padded, longer ones read as windows.
    0 takes that of the longest file, up to one second."""
    sample_rate: int = 0
    """Rate in Hz to which the sounds of an own folder are resampled; 0 takes that of most training files."""
    frontend: Literal["none", "logmel"] = "none"
    """What audio becomes for a network that takes images: logmel makes log-mel spectrograms."""
    normalize: Literal["auto", "data", "imagenet"] = "auto"
    """Mean and deviation that inputs are normalised by: those of the training examples, or ImageNet's, which networks
    that were trained on it expect. auto takes imagenet with such --weights, else data."""
    epochs: int = 15
    """Passes over the training examples; 0 evaluates and saves the initial weights."""
    batch_size: int = 64
    """Images a step."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "muon"] = "adam"
    """Update rule, as PyTorch defines it."""
    lr: float = 3e-3
    """Learning rate (its peak, under a schedule)."""
    momentum: float = 0.9
    """Of the optimizers momentum, nesterov and muon; the others do not read it."""
    weight_decay: float = 0.0
    """On every parameter, biases and norms too: decoupled for adamw and muon, added to the gradient
    for the others."""
    decay_weights_only: bool = False
    """Leave biases and norms out of --weight-decay."""
    l1: float = 0.0
    """Weight of the sum of the absolute values of all parameters, added to the loss that is minimised."""
    dropout: float | None = None
    """Rate of every dropout layer, of networks that have some. Default: the network's own."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each class in the loss of training: balanced is n / (K n_k), for n_k of n examples of K classes."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """What an epoch has: each training example once; or as many examples, drawn with replacement so that each class
    is as likely as any other."""
    label_smoothing: float = 0.0
    """Share of every label that is spread over all classes."""
    mixup: float = 0.0
    """Mix each two training examples, by a share drawn from Beta(mixup, mixup); 0 does not."""
    augment: str = "none"
    """Change the training examples at random, names with commas between: see --list-augmentations."""
    tta: Literal["none", "flip", "shift"] = "none"
    """Judge each image by the mean of what is said of several views: swapped, or also moved by a pixel."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; 0 sets no limit."""
    accumulate: int = 1
    """Take each batch in so many pieces, one after another: for want of memory."""
    ema: float = 0.0
    """Keep a moving average of the weights, this much of it at each step, and judge and save that; 0 keeps none."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """What is computed in. Under bfloat16 weights, statistics and losses stay float32."""
    tf32: bool = False
    """On a GPU, let float32 products be rounded to TF32: faster, and a thousand times less exact."""
    patience: int = 0
    """Stop after so many epochs without a better one by --monitor, and keep the best epoch's weights; 0 never."""
    monitor: Literal["accuracy", "loss", "macro-f1"] = "accuracy"
    """What the best epoch has the best of, on the validation examples: for --patience, checkpoints/best and --tune."""
    min_delta: float = 0.0
    """By how much an epoch must be better than the best before it to be the best; an equal one never is."""
    schedule: Literal["constant", "linear", "step", "cosine", "warmup-cosine", "onecycle"] = "onecycle"
    """Learning rate over the steps."""
    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    """Softmax cross-entropy, or binary cross-entropy of each class against the rest."""
    weights: str | None = None
    """Start from these instead of random ones: a file of weights in any usual format of either framework, a run
    folder, or the word torchvision for the pretrained ones."""
    new_head: bool = False
    """With --weights: the last layer starts at random, so that a file made for other classes will do."""
    like_torchvision: bool = False
    """Build the network as torchvision's weights need it (GoogLeNet: inputs transformed). Implied by --weights
    torchvision, by a run that had this, and by a file whose statistics show it."""
    seed: int = 0
    """Of the initial weights, the order of the examples, and dropout."""
    out: Path | None = None
    """Run folder to make. Default: runs/<time>-<model>-<dataset>-<framework>, with a number behind it if there is
    one of that name."""
    recipe: str | None = None
    """Take the options from a recipe, see --list-recipes; options given beside it win."""
    seeds: int = 1
    """Train so many times, with --seed and those after it, and print the mean and the deviation. A training that
    fails is recorded, and the others go on."""
    together: Literal["auto", "yes", "no"] = "auto"
    """Train the runs of --seeds all at once, in one program, in Flax, and of --tune eight at a time: auto does so with
    small networks on a GPU."""
    tune: tuple[str, ...] = ()
    """Search for the best validation result by --monitor: lr=1e-4..1e-1 batch_size=32,64 and so on; a folder for each
    trial. A trial that fails is recorded, and the search goes on."""
    trials: int = 20
    """How many trainings --tune may take."""
    config: Path | None = None
    """Repeat the run whose config.json this is; options given beside it win."""
    list_models: bool = False
    """Print every network and stop."""
    list_datasets: bool = False
    """Print every dataset and stop."""
    list_recipes: bool = False
    """Print every recipe with what it comes to, and stop."""
    list_augmentations: bool = False
    """Print every augmentation and stop."""
    checkpoint_every: str = "1epoch"
    """How often all that the training goes on from is saved: 2epochs, 500steps and so on."""
    keep: int = 2
    """How many checkpoints are kept, beside that of the best epoch."""
    on_nan: Literal["stop", "skip"] = "stop"
    """When a step's loss, a gradient or its result is no finite number: stop, or leave that step out and go on."""
    workers: int = 0
    """Processes that read and augment the training examples; 0 does it between the steps."""
    augment_on: Literal["host", "device"] = "host"
    """Where examples are augmented and normalised: as they are read, or where the network computes."""
    data_on: Literal["auto", "host", "device"] = "auto"
    """Where the training examples lie: device puts all of them there, where they are gathered and augmented, too, and
    Flax takes 32 steps in one call; auto does so with one GPU that has room."""
    processes: int = 1
    """Train in so many processes on this machine, each on its share of every batch; torchrun, srun and mpirun say
    by themselves how many they have started."""
    resume: str | None = None
    """Go on with a run folder from its last whole checkpoint, with its own options; or with the folder of --seeds or
    --tune, whose finished trainings are kept; or auto: with --out if it is there, else the newest run in runs/."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder, too. A resumed run goes on with them."""
    profile: bool = False
    """Record what ten steps, from the sixth on, spend their time on, in the run folder's profile/; of a training of
    fewer steps those after the first."""
    probabilities: bool = False
    """Compute the area under the ROC curve, too, from the probabilities of the classes."""
    summary: bool = False
    """Print the network's layers with their shapes, parameters and FLOPs, and stop."""
    dry_run: bool = False
    """Check everything, print what would be trained, write nothing."""

    @property
    def dataset_name(self) -> str:
        """Return the dataset's name, of an own folder only the last part of its path."""
        folder = own_folder(self.dataset)
        return folder.name if folder else self.dataset.lstrip(":")  # ":arrays" are those of a program

    @property
    def model_name(self) -> str:
        """Return the network's name; of one of the user's own without the file."""
        return parse_target(self.model).short if is_reference(self.model) else self.model


# What is said to the command, not about the training; config.json holds the rest.
NOT_SAVED = (
    "out",
    "config",
    "recipe",
    "seeds",
    "together",
    "tune",
    "trials",
    "processes",
    "resume",
    "summary",
    "dry_run",
)
NAMES = tuple(field.name for field in dataclasses.fields(Config))
SAVED = tuple(name for name in NAMES if name not in NOT_SAVED and not name.startswith("list_"))
# Of these a run may be resumed with others: they change no number.
FREE = (
    *("data_dir", "cache_dir", "checkpoint_every", "keep", "on_nan", "workers"),
    *("tensorboard", "profile", "probabilities"),
)
OUTPUT = ("tensorboard", "profile", "probabilities")  # of these, what is only written beside the results
# The options of a sweep, which its folder's config.json holds beside those of its trainings.
SWEEP = ("seeds", "tune", "trials", "together")
# Of which each of several trainings in one program may have its own: numbers that no choice of what to compute reads.
MAPPED = ("lr", "momentum", "weight_decay")
