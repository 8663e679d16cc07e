"""Refusals of what imposes a geometry: heads, losses, penalties, thermostats."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section
from tests.refusals.tracking import GIVEN

CONTROL = Section(
    "Heads, losses, penalties and thermostats",
    "What `nc.control` is given.",
    GIVEN,
    (
        Refusal(
            "More classes than a simplex holds",
            "nc.control.SimplexHead(in_features=4, num_classes=10)",
            ("in_features=4", "num_classes=10"),
            ("at least 9 are needed", "CodeHead(4, 10)"),
        ),
        Refusal(
            "More classes than directions",
            "nc.control.OrthogonalHead(in_features=4, num_classes=10)",
            ("in_features=4", "10 orthogonal classes"),
            ("at least 10 are needed",),
        ),
        Refusal(
            "A scale of 0",
            "nc.control.SimplexHead(8, 4, scale=0)",
            ("scale=0",),
            ("a positive finite number is needed",),
        ),
        Refusal(
            "A matrix in the place of a geometry",
            "nc.control.GeometryHead(torch.eye(4))",
            ("a Tensor",),
            ("nc.Geometry(weight=…)",),
        ),
        Refusal(
            "Rows that a geometry has not",
            "nc.control.GeometryHead(nc.Geometry(means=torch.eye(4)), rows='weight')",
            ("rows='weight'",),
            ("pass rows='means'",),
        ),
        Refusal(
            "A geometry wider than the features",
            "nc.control.GeometryHead(nc.Geometry(weight=torch.eye(4)), in_features=3)",
            ("in_features=3", "4 dimensions"),
            ("pass at least 4",),
        ),
        Refusal(
            "Labels beyond the frame",
            "nc.control.NearestFrameHead(12, 4)(x, y + 3)",
            ("from 3 to 6",),
            ("class numbers from 0 to 3",),
        ),
        Refusal(
            "An unknown head",
            "nc.control.fix_head(net, head='simplx')",
            ("'simplx'",),
            ("one of simplex",),
        ),
        Refusal(
            "A head by a name that is not there",
            "nc.control.fix_head(net, name='classifier')",
            ("'classifier'",),
            (
                "its linear layers are: 2, 0",
                "pass one of those",
            ),
        ),
        Refusal(
            "No head to fix",
            "nc.control.fix_head(nn.Sequential(nn.Flatten(), nn.ReLU()))",
            ("Sequential holds no linear layer",),
            ("build a head with ncollapse.control.SimplexHead",),
        ),
        Refusal(
            "A layer in the place of a model",
            "nc.control.fix_head(nn.Linear(8, 4))",
            ("a single linear layer",),
            ("nn.Sequential(model)",),
        ),
        Refusal(
            "A model that is wrapped already",
            "nc.control.fix_head(nn.DataParallel(net))",
            ("wrapped in DataParallel",),
            ("fix the head first, then wrap it",),
        ),
        Refusal(
            "A geometry of other classes",
            "nc.control.fix_head(net, head=nc.Geometry.simplex_etf(5, 8))",
            ("5 classes", "4"),
            ("one row a class is needed",),
        ),
        Refusal(
            "A cut after a layer that is not there",
            "nc.control.cut_after(net, 'layer3', data)",
            ("'layer3'",),
            ("it has 0, 1, 2", "name one of those"),
        ),
        Refusal(
            "A cut after no layer",
            "nc.control.cut_after(net, None, data)",
            ("layer=None",),
            ("name a layer",),
        ),
        Refusal(
            "Another way to refit",
            "nc.control.cut_after(net, '0', data, head='ridge')",
            ("'ridge'",),
            ("one of least-squares, nearest is needed",),
        ),
        Refusal(
            "A head refitted on one class",
            "nc.control.cut_after(net, '0', (x, 0 * y))",
            ("samples of 1 class",),
            ("needs at least two",),
        ),
        Refusal(
            "A penalty of an unknown metric",
            "nc.control.nc1_penalty(x, y, metric='nc2')",
            ("metric='nc2'",),
            ("one of nc1_ratio",),
        ),
        Refusal(
            "A penalty toward an unknown frame",
            "nc.control.frame_penalty(x, y, frame='cube')",
            ("frame='cube'",),
            ("one of simplex",),
        ),
        Refusal(
            "A layer in the place of its weight, in a penalty",
            "nc.control.duality_penalty(x, y, net[2])",
            ("a Linear",),
            (".weight of the head",),
        ),
        Refusal(
            "The weight of another layer, in a penalty",
            "nc.control.duality_penalty(x, y, net[2].weight)",
            ("8 features", "12"),
            ("pass what enters the classifier",),
        ),
        Refusal(
            "A penalty of features that are NaN",
            "nc.control.NC1Penalty()(x * float('nan'), y)",
            ("NaN", "sample 0"),
            ("lower the learning rate",),
            "NonFiniteError",
        ),
        Refusal(
            "A target that cannot be held",
            "nc.control.Thermostat(target=0)",
            ("target=0",),
            ("a number above 0 is needed",),
        ),
        Refusal(
            "A metric that cannot be held",
            "nc.control.Thermostat(0.1, metric='nc4_mismatch')",
            ("'nc4_mismatch'",),
            ("one of nc1_ratio",),
        ),
        Refusal(
            "A penalty before the first batch",
            "nc.control.Thermostat(0.1).penalty()",
            ("penalty() was called before",),
            ("call that first",),
        ),
        Refusal(
            "The state of another thermostat",
            "other = nc.control.Thermostat(0.1, metric='nc1_ratio')\n"
            "nc.control.Thermostat(0.1).load_state_dict(other.state_dict())",
            ("nc1_ratio", "nc1_fisher"),
            ("one with the same metric is needed",),
        ),
        Refusal(
            "A number for a dial",
            "nc.control.HeldLoss(0.1, net)",
            ("dial is a float",),
            ("Thermostat(target=0.1)",),
        ),
        Refusal(
            "A loss before the forward pass",
            "loss = nc.control.HeldLoss(nc.control.Thermostat(0.1), net)\n"
            "loss(torch.zeros(48, 4), y)",
            ("no forward pass of the model was heard",),
            ("call model(inputs)",),
        ),
        Refusal(
            "A class without samples",
            "nc.control.LogitAdjustedLoss([100, 0])",
            ("counts=[100, 0]",),
            ("at least 2 positive class counts are needed",),
        ),
        Refusal(
            "Counts of other classes",
            "nc.control.LogitAdjustedLoss([100, 10])(net(x), y)",
            ("2 entries", "4 classes"),
            ("one entry a class is needed",),
        ),
        Refusal(
            "Smoothing of all",
            "nc.control.LabelSmoothingLoss(smoothing=1.0)",
            ("smoothing=1.0",),
            ("a number in [0, 1) is needed",),
        ),
        Refusal(
            "One-hot labels for a loss",
            "nc.control.MSELoss()(net(x), nn.functional.one_hot(y, 4))",
            ("(48, 4)", "int64"),
            ("labels.argmax(1)",),
        ),
        Refusal(
            "A threshold missing",
            "nc.control.OrdinalHead(8, grades=4, thresholds=[-1, 0, 1])",
            ("3 thresholds",),
            ("pass as many",),
        ),
        Refusal(
            "Logits of classes for a loss of grades",
            "head = nc.control.OrdinalHead(8, grades=4)\nnc.control.OrdinalLoss(head)(net(x), y)",
            ("(48, 4)",),
            ("one latent score a sample is needed",),
        ),
        Refusal(
            "Coordinates before fitting",
            "nc.control.PrincipalFeatures(0.9).transform(x)",
            ("nothing is fitted",),
            ("call fit(features)",),
        ),
    ),
)
