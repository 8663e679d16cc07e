"""Refusals of models, of their heads and layers, and of the batches that run through them."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

GIVEN = """
import torch
from torch import nn
import ncollapse as nc

generator = torch.Generator().manual_seed(0)
y = torch.arange(48) % 4  # 48 labels of 4 classes
x = torch.randn(48, 3, 8, 8, generator=generator)  # as many images
body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
net = nn.Sequential(*body, nn.Linear(6, 4))
data = (x, y)
"""

TWO_HEADS = """class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.colour = body, nn.Linear(6, 4), nn.Linear(6, 5)
    def forward(self, x):
        h = self.body(x)
        return {'kind': self.kind(h), 'colour': self.colour(h)}

nc.measure(Two(), data)"""

NO_LOGITS = """class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x):
        return self.net(x).mean()  # the loss alone

nc.measure(Trained(), data)"""

MODELS = Section(
    "Models, heads and layers",
    "What `nc.measure` needs of a model; the same sentences come from `nc.Tracker`, the callbacks "
    "and the command line.",
    GIVEN,
    (
        Refusal(
            "A state dict in the place of a model",
            "nc.measure(net.state_dict(), data)",
            ("a OrderedDict",),
            ("a torch.nn.Module is needed", "model.load_state_dict"),
        ),
        Refusal(
            "A path in the place of a model",
            "nc.measure('best.pt', data)",
            ("'best.pt'",),
            ("a torch.nn.Module is needed", "nc.load_model('best.pt')"),
        ),
        Refusal(
            "A class in the place of a model",
            "nc.measure(nn.Flatten, data)",
            ("the class Flatten",),
            ("pass an instance, Flatten(…)",),
        ),
        Refusal(
            "A function in the place of a model",
            "nc.measure(lambda images: net(images), data)",
            ("the function <lambda>",),
            ("pass the module that it calls",),
        ),
        Refusal(
            "Features in the place of a model",
            "nc.measure(x.flatten(1), y)",
            ("a Tensor",),
            ("nc.measure_features(features, labels)",),
        ),
        Refusal(
            "A head that the model has not",
            "nc.measure(net, data, head='fc')",
            ("'fc'",),
            (
                "its linear layers are: 4",
                "pass one of those",
            ),
        ),
        Refusal(
            "A head of another model",
            "nc.measure(net, data, head=nn.Linear(6, 4))",
            ("a Linear that the model does not hold",),
            ("pass one of its own",),
        ),
        Refusal(
            "A head without a weight",
            "nc.measure(net, data, head='1')",
            ("'1' (ReLU)",),
            ("the layer that makes the logits",),
        ),
        Refusal(
            "A head that is no name",
            "nc.measure(net, data, head=3)",
            ("head=3",),
            ("the name of a layer", "False for none"),
        ),
        Refusal(
            "A backbone without its head",
            "nc.measure(body, data)",
            ("no linear layer reproduces the logits",),
            ("pass head=NAME", "head=False and layers=…"),
            "HeadNotFoundError",
        ),
        Refusal(
            "A model that ends in an embedding",
            "nc.measure(nn.Sequential(*body, nn.Linear(6, 16)), data)",
            ("'4' is 16 wide", "4 classes"),
            ("pass head=False and layers=['4']", "head='4' if it is the classifier"),
        ),
        Refusal(
            "Two heads",
            TWO_HEADS,
            ("'colour'", "'kind'"),
            ("pass head='kind'",),
        ),
        Refusal(
            "A model that returns its loss",
            NO_LOGITS,
            ("no logits in what the model returned",),
            ("or pass head=False and layers=…",),
        ),
        Refusal(
            "TorchScript",
            "nc.measure(torch.jit.script(net), data)",
            ("RecursiveScriptModule",),
            ("measure the model that it was made from",),
            "HeadNotFoundError",
        ),
        Refusal(
            "A model whose weights are NaN",
            "nn.init.constant_(net[0].bias, float('nan'))\nnc.measure(net, data)",
            ("the logits of the first batch hold NaN",),
            ("measure an earlier checkpoint",),
            "HeadNotFoundError",
        ),
        Refusal(
            "A layer that is not there",
            "nc.measure(net, data, layers='layer4')",
            ("'layer4'",),
            ("the model has 0, 1, 2, 3, 4", "name some"),
        ),
        Refusal(
            "A number in the place of layers",
            "nc.measure(net, data, layers=3)",
            ("layers=3",),
            ("names, patterns", "is needed"),
        ),
        Refusal(
            "Nothing to measure",
            "nc.measure(net, data, head=False)",
            ("head=False",),
            ("pass layers='*'",),
        ),
        Refusal(
            "An unknown pooling",
            "nc.measure(net, data, layers='*', pool='avg')",
            ("'avg'",),
            ("mean", "or a function of the output is needed"),
        ),
        Refusal(
            "A pooling that pools samples too",
            "nc.measure(net, data, layers='0', pool=lambda output: output.mean())",
            ("shape ()", "(48, 6, 6, 6)"),
            ("(samples, dim) is needed",),
        ),
        Refusal(
            "An unknown precision",
            "nc.measure(net, data, autocast='fp16')",
            ("'fp16'",),
            ("one of float32, float16, bfloat16",),
        ),
        Refusal(
            "Labels beyond the head",
            "nc.measure(net, (x, torch.arange(48) % 6))",
            ("label 4 of sample 4", "classes 0..3"),
            ("is this the data that the model was trained on?",),
        ),
        Refusal(
            "Names of other classes",
            "nc.measure(net, data, class_names=['ant', 'bee'])",
            ("2 classes", "'4' is 4 wide"),
            ("a model trained on these classes is needed",),
        ),
        Refusal(
            "A segmentation model without a head",
            "nc.measure_pixels(net, (x, torch.zeros(48, 8, 8, dtype=torch.long)))",
            ("no convolution of kernel 1",),
            ("name it: head=",),
        ),
        Refusal(
            "A bias where theory has none",
            "nc.gufm_gap(net, x, y, weight_decay=5e-4, head='4')",
            ("'4' has a bias",),
            ("without a bias is needed",),
        ),
    ),
)

BATCHES = Section(
    "Loaders, batches and labels in them",
    "What `nc.measure`, `nc.Tracker` and all that run a model are given as data.",
    GIVEN,
    (
        Refusal("No data", "nc.measure(net)", ("no data was passed",), ("pass a loader",)),
        Refusal(
            "Inputs without labels",
            "nc.measure(net, x)",
            ("a Tensor",),
            ("pass the labels beside it",),
        ),
        Refusal(
            "A name in the place of data",
            "nc.measure(net, 'imagefolder:data/')",
            ("'imagefolder:data/'",),
            ("nc.load_data('imagefolder:data/')",),
        ),
        Refusal(
            "A class in the place of a data set",
            "nc.measure(net, torch.utils.data.TensorDataset)",
            ("the class TensorDataset",),
            ("make one, TensorDataset(…)",),
        ),
        Refusal(
            "Fewer labels than inputs",
            "nc.measure(net, (x, y[:-1]))",
            ("48 inputs but 47 labels",),
            ("one label a sample is needed",),
        ),
        Refusal(
            "An empty split",
            "nc.measure(net, train=data, test=[])",
            ("split 'test' is empty",),
            ("at least one batch is needed",),
        ),
        Refusal(
            "A split passed twice",
            "nc.measure(net, data, train=data)",
            ("'train' was passed twice",),
            ("pass data, or train= and test=",),
        ),
        Refusal(
            "Batches of no samples",
            "nc.measure(net, data, batch_size=0)",
            ("batch_size=0",),
            ("at least 1 sample a batch is needed",),
        ),
        Refusal(
            "Batches of three",
            "nc.measure(net, [(x, y, y)])",
            ("a tuple of 3",),
            ("pass unpack=lambda batch",),
        ),
        Refusal(
            "Mappings without labels",
            "nc.measure(net, [{'pixels': x, 'kind': y}])",
            ("'kind'", "no labels"),
            ("name them 'labels'",),
        ),
        Refusal(
            "Mappings of labels alone",
            "nc.measure(net, [{'labels': y}])",
            ("'labels'", "alone"),
            ("what the model takes is needed beside it",),
        ),
        Refusal(
            "An `unpack` for other batches",
            "nc.measure(net, [(x, y)], unpack=lambda batch: (batch['x'], batch['y']))",
            ("unpack failed", "a tuple of 2"),
            ("a function that returns (inputs, labels)",),
        ),
        Refusal(
            "An `unpack` that returns all",
            "nc.measure(net, [(x, y, y)], unpack=lambda batch: batch)",
            ("unpack returned a tuple of 3",),
            ("a pair (inputs, labels) is needed",),
        ),
        Refusal(
            "Names as labels",
            "nc.measure(net, [(x, ['cat'] * 48)])",
            ("a list of 48", "'cat'"),
            ("NAMES.index(name)",),
        ),
        Refusal(
            "Labels that are None",
            "nc.measure(net, [(x, None)])",
            ("the labels are None",),
            ("class numbers are needed, one a sample",),
        ),
        Refusal(
            "Boxes as labels",
            "nc.measure(net, [(x, [{'boxes': x[0], 'labels': y}])])",
            ("'boxes'",),
            ("class numbers are needed, one a sample",),
        ),
        Refusal(
            "Mixed labels",
            "mixed = torch.softmax(torch.randn(48, 4, generator=generator), 1)\n"
            "nc.measure(net, [(x, mixed)])",
            ("tensor [48, 4] float32",),
            ("b[1].argmax(1)",),
        ),
        Refusal(
            "Batches with one-hot labels",
            "nc.measure(net, [(x, nn.functional.one_hot(y, 4))])",
            ("one-hot", "48 rows"),
            ("unpack=lambda b: (b[0], b[1].argmax(1))",),
        ),
        Refusal(
            "Inputs and labels swapped",
            "nc.measure(net, [(y, x)])",
            ("tensor [48, 3, 8, 8] float32", "swapped"),
            ("unpack=lambda b: (b[1], b[0])",),
        ),
        Refusal(
            "Batches with labels of pixels",
            "nc.measure(net, [(x, torch.zeros(48, 8, 8, dtype=torch.long))])",
            ("tensor [48, 8, 8] int64",),
            ("nc.measure_pixels",),
        ),
        Refusal(
            "One class in the data",
            "nc.measure(net, (x, 0 * y))",
            ("only class [0]", "48 samples"),
            ("at least two classes are needed",),
        ),
        Refusal(
            "Targets beside a head of classes",
            "nc.measure(net, (x, torch.randn(48, 2, generator=generator)))",
            ("2 target numbers", "'4' makes 4"),
            ("pass classes as integers",),
        ),
        Refusal(
            "Images of another kind",
            "nc.measure(net, (x[:, :1], y))",
            ("tensor [48, 1, 8, 8]",),
            ("inputs of the kind it was trained on are needed",),
        ),
        Refusal(
            "Images of other sizes in a layer that is not pooled",
            "nc.measure(net, [(x, y), (x[..., :4], y)], layers='0', pool='flatten')",
            ("216 wide", "72"),
            ("inputs of one size, or another pooling",),
        ),
        Refusal(
            "Tokens asked of images",
            "nc.measure(net, data, tokens=True)",
            ("tensor [48, 3, 8, 8]",),
            ("'input_ids'", "are needed"),
        ),
        Refusal(
            "A generator where the data is read twice",
            "nc.measure(net, ((x, y) for _ in range(1)), cache=False)",
            ("this loader can be read once only",),
            ("pass a DataLoader, or leave the cache on",),
        ),
        Refusal(
            "A snapshot of what shuffles",
            "loader = torch.utils.data.DataLoader(list(zip(x, y)), 16, shuffle=True)\n"
            "nc.measure(net, loader, snapshot='kept')",
            ("'train' shuffles",),
            ("pass shuffle=False",),
        ),
        Refusal(
            "Foreign data that is the model's own",
            "nc.measure(net, train=data, ood=data)",
            ("the split 'train' itself",),
            ("data of classes that the model does not know is needed",),
        ),
    ),
)
