"""FULL: the experiments of docs/results.md, and the parts of that page that are made from them."""

from experiments.plan import Block, Data, Experiment, Kind, Part, Plan, Shown

TAUGHT = ("w/o both",)  # rows of table 3 and of the controls that claims are compared with
AVERAGED = "teachers averaged"
PLAIN = ("ground truth only", "ground truth, translated", "fixed halves", AVERAGED)
ALONE = "recipe views-gt-alone"  # what the best recipe shows its students, without teachers
BEST = (Part("recipes", ("recipe best",)),)
SIDE = "w/o both, with side branches"
CLAIMS = (
    Part("1"),
    Part("3", TAUGHT),
    Part("controls", (SIDE, *PLAIN)),
    Part("recipes", ("recipe best", "recipe views-gt", ALONE)),
)
ELSEWHERE = (Part("2"), Part("3"), Part("controls", ("ground truth only", "fixed halves")))
TEACHERS = ("ID teacher", "OOD teacher")
ONE, OOD = Part("1"), Part("1", ("OOD teacher",))
TOGETHER = ("recipe views-gt",)
LIGHT = ("half the width", "SeqPAN student")

DATA = (
    Data(
        "multithumos",
        (
            "python $REFKD_DATA/multithumos/make_moments.py moments",
            "refkd prepare data --annotations moments --features moments/features --clips 64",
        ),
        {"epochs": 20},
        source=r"_(\d+)$",  # many windows of one THUMOS14 video
    ),
    Data(  # the same, but test_ood shifts lengths instead of places
        "lengths",
        (
            "python $REFKD_DATA/multithumos/make_moments.py moments",
            "python $EXPERIMENTS_CODE/longer.py moments longer",
            "refkd prepare data --annotations longer --features longer/features --clips 64",
        ),
        {"epochs": 20},
        source=r"_(\d+)$",
    ),
    Data(  # all pairs, 1,024 simulated channels
        "charades",
        (
            "refkd simulate data --annotations $REFKD_DATA/charades_cd"
            " --words $REFKD_DATA/glove/glove.840B.300d.charades.txt --clips 32",
        ),
        {"epochs": 10},
    ),
)

KINDS = {
    "id": Kind("id"),
    "ood": Kind("ood"),
    "ood-moved": Kind("ood", moved_span_loss=True),
    "ood-selected": Kind("ood", moved_span_loss=True, select="val+moved"),
    "ood-stretched": Kind("ood", moved_span_loss=True, moved_stretch=2.0),
    "id-folds": Kind("id", folds=3),
    "ood-folds": Kind("ood", folds=3),
    "ood-folds-selected": Kind("ood", moved_span_loss=True, select="val+moved", folds=3),
}

EXPERIMENTS = (
    Experiment(
        "claims-moved", "stronger OOD teacher", CLAIMS, teachers=("id", "ood-moved"), agreement=True
    ),
    Experiment("claims", "plain OOD teacher", CLAIMS, agreement=True),
    Experiment(
        "recipes",
        "stronger OOD teacher",
        (Part("1"), Part("recipes")),
        teachers=("id", "ood-moved"),
    ),
    Experiment(
        "together",
        "all teachers in one cache",
        (Part("recipes", TOGETHER), Part("controls", (AVERAGED,))),
        teachers=("id", "ood-moved"),
        together=True,
    ),
    Experiment(
        "together-selected",
        "three stronger OOD teachers, chosen by val+moved, in one cache",
        (Part("controls", (AVERAGED,)), *BEST),
        teachers=("ood-selected",),
        together=True,
    ),
    Experiment(
        "ablations",
        "plain OOD teacher",
        (Part("3"), Part("controls", (SIDE,)), Part("4"), Part("5")),
    ),
    Experiment(
        "controls", "plain OOD teacher", (Part("controls"), Part("3", TAUGHT)), agreement=True
    ),
    Experiment("warmup", "plain OOD teacher", (Part("warmup"),)),
    Experiment("seqpan", "SeqPAN", ELSEWHERE, backbone="seqpan", agreement=True),
    Experiment("mrtnet", "MRTNet-style", ELSEWHERE, backbone="mrtnet", agreement=True),
    Experiment(
        "seqpan-transformer",
        "SeqPAN, transformer predictor",
        (Part("2"),),
        backbone="seqpan",
        changes={"predictor": "transformer"},
    ),
    Experiment(
        "light",
        "plain OOD teacher",
        (Part("light", ("RefKD", *LIGHT)),),
    ),
    Experiment(
        "stretched",
        "stronger OOD teacher, stretched",
        (Part("1", ("OOD teacher",)),),
        teachers=("id", "ood-stretched"),
    ),
    Experiment(
        "selected",
        "stronger OOD teacher, chosen by val+moved",
        (OOD, *BEST),
        teachers=("id", "ood-selected"),
        agreement=True,
    ),
    Experiment(
        "lengths-plain",
        "plain OOD teacher",
        (Part("1", TEACHERS),),
        data="lengths",
        taught_on="multithumos",
    ),
    Experiment(
        "lengths",
        "stronger OOD teacher",
        (Part("1", ("OOD teacher",)),),
        data="lengths",
        teachers=("id", "ood-moved"),
        taught_on="multithumos",
    ),
    Experiment(
        "lengths-stretched",
        "stronger OOD teacher, stretched",
        (Part("1", ("OOD teacher",)),),
        data="lengths",
        teachers=("id", "ood-stretched"),
        taught_on="multithumos",
    ),
    Experiment(
        "folds",
        "cross-fitted, 3 folds",
        (Part("1"), Part("3", TAUGHT)),
        teachers=("id-folds", "ood-folds"),
        agreement=True,
    ),
    Experiment(
        "folds-selected",
        "stronger OOD teacher, chosen by val+moved, cross-fitted",
        (OOD, *BEST),
        teachers=("id-folds", "ood-folds-selected"),
        agreement=True,
    ),
    Experiment(
        "charades",
        "simulated",
        (Part("1"), Part("3", TAUGHT), Part("controls", ("ground truth only",))),
        data="charades",
    ),
)

BACKBONES = (ONE, Part("controls", ("ground truth only", "fixed halves")))
TAUGHT_BY_BOTH = (
    Part("1", ("RefKD",)),
    Part("3", TAUGHT),
    Part("controls", ("fixed halves",)),
    *BEST,
)
ANSWER = (ONE, Part("controls", (AVERAGED,)), Part("recipes", ("recipe best", ALONE)))
BLOCKS = (
    Block(
        "answer",
        (
            Shown("claims", ANSWER),
            Shown("claims-moved", ANSWER),
            Shown("selected"),
        ),
        tells="brief",
    ),
    Block("floors", (), tells="floors"),
    Block(
        "teachers",
        (
            Shown("claims", (Part("1", TEACHERS),)),
            Shown("claims-moved", (OOD,)),
            Shown("selected", (OOD,)),
            Shown("stretched", (OOD,)),
        ),
        beside=("claims", "claims-moved"),
    ),
    Block(
        "aim",
        (Shown("claims"), Shown("claims-moved")),
        ("RefKD", "recipe best"),
        tells="differences",
    ),
    Block("claims", (Shown("claims"),), TEACHERS),
    Block("claims-moved", (Shown("claims-moved"),), TEACHERS, beside=("claims",)),
    Block(
        "lengths",
        (Shown("lengths-plain"), Shown("lengths"), Shown("lengths-stretched")),
        ("ID teacher",),
        beside=("lengths-plain", "lengths"),
    ),
    Block(
        "selected",
        (Shown("claims-moved", (OOD, *BEST)), Shown("selected")),
        ("OOD teacher",),
        beside=("claims-moved",),
    ),
    Block("recipes", (Shown("recipes"),), (*TEACHERS, "RefKD", "recipe best")),
    Block(
        "together",
        (
            Shown(
                "together",
                (
                    Part("1", TEACHERS),
                    Part("controls", (AVERAGED,)),
                    Part("recipes", TOGETHER),
                ),
            ),
        ),
        (*TEACHERS, AVERAGED),
    ),
    Block(
        "together-selected",
        (
            Shown("selected", BEST, label="pairs of an ID teacher and one of the three"),
            Shown(
                "together-selected", (OOD, Part("controls", (AVERAGED,)), *BEST), label="all three"
            ),
        ),
        ("OOD teacher", AVERAGED),
        beside=("selected",),
    ),
    Block(
        "table-3",
        (Shown("ablations", (Part("3"), Part("controls", (SIDE,)))),),
        ("RefKD", SIDE, *TAUGHT),
    ),
    Block(
        "agreement",
        (
            Shown("claims", label="ID and plain OOD teacher"),
            Shown("claims-moved", label="ID and stronger OOD teacher"),
            Shown("selected", label="ID and stronger OOD teacher, chosen by val+moved"),
            Shown("controls", label="two ID teachers"),
            Shown("folds", label="ID and plain OOD teacher, cross-fitted"),
            Shown(
                "folds-selected",
                label="ID and stronger OOD teacher, chosen by val+moved, cross-fitted",
            ),
            Shown("seqpan", label="SeqPAN, ID and plain OOD teacher"),
            Shown("mrtnet", label="MRTNet-style, ID and plain OOD teacher"),
        ),
        tells="agreement",
    ),
    Block("table-4", (Shown("ablations", (Part("4"),)),), ("RefKD",)),
    Block("table-5", (Shown("ablations", (Part("5"),)),), ("Teacher",)),
    Block("warmup", (Shown("warmup"),), ("20% warm-up",)),
    Block("controls", (Shown("controls"),), ("RefKD", *TAUGHT)),
    Block(
        "table-2",
        (
            Shown("claims", BACKBONES, label="VSLNet"),
            Shown("seqpan", BACKBONES),
            Shown("seqpan-transformer", (ONE,)),
            Shown("mrtnet", BACKBONES),
        ),
        TEACHERS,
    ),
    Block(
        "table-3-backbones",
        (Shown("seqpan", (Part("3"),)), Shown("mrtnet", (Part("3"),))),
        ("RefKD",),
    ),
    Block(
        "folds",
        (Shown("claims", (ONE, Part("3", TAUGHT)), label="not cross-fitted"), Shown("folds")),
        TEACHERS,
        beside=("claims",),
    ),
    Block(
        "folds-selected",
        (Shown("selected"), Shown("folds-selected")),
        ("OOD teacher",),
        beside=("selected",),
    ),
    Block("light", (Shown("light"),), ("RefKD",)),
    Block(
        "calibration",
        (
            Shown("claims"),
            Shown(
                "ablations", (Part("3", ("w/o LR", "w/o DR")), Part("4", ("Pure GT", "Window f")))
            ),
            Shown("claims-moved", (OOD, *TAUGHT_BY_BOTH)),
            Shown("folds"),
        ),
        tells="calibration",
    ),
    Block("charades", (Shown("charades"),), TEACHERS),
    Block(
        "costs",
        (
            Shown("claims", label="VSLNet"),
            Shown("claims-moved", (OOD, *TAUGHT_BY_BOTH), label="VSLNet, stronger OOD teacher"),
            Shown("seqpan", BACKBONES),
            Shown("mrtnet", BACKBONES),
            Shown("light", (Part("light", LIGHT),), label="VSLNet teachers"),
            Shown("charades"),
        ),
        tells="costs",
    ),
)

FULL = Plan(DATA, KINDS, EXPERIMENTS, BLOCKS)
