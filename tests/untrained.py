"""Teachers that learned nothing but say something: what they say is what matters to a cache."""

import dataclasses

from student.model import model_facts, network_shape, save_model
from student.network import Network
from student.recipe import Recipe


def save_teacher(folder, data, *, seed=0, nan=False, **recipe):
    """Save a small network with random weights as a teacher of this data."""
    shape = network_shape(data, dataclasses.replace(Recipe(hidden=16), **recipe))
    network = Network(shape, seed=seed)
    network.standardise(data.channel_stats)
    if nan:
        next(network.predict.parameters()).data.fill_(float("nan"))
    facts = {**model_facts(data, shape), "kind": "teacher", "inputs": {}}
    save_model(folder, network.state_dict(), facts)
    return folder
