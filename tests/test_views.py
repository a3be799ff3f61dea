import numpy as np
import pytest

from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.seeds import generator
from student.moving import Mover
from student.views import Viewer, plan_views


@pytest.fixture(scope="module")
def rows(data):
    return data.rows("train")


def test_a_place_is_drawn_from_sample_and_view(data, rows):
    """View v of a pair stands where the generator of (0, "view", id, v) puts it, counted from 1."""
    views = plan_views(data, 2)
    mover = Mover(data, rows, data.pairs["train"])

    assert (views.number, views.seeds_VN.shape, views.gt_VN2.shape) == (2, (2, 96), (2, 96, 2))
    for view in (1, 2):
        expected = mover.views(
            np.arange(96),
            lambda row, places, v=view: generator(0, "view", rows.ids[row], v).integers(places),
        )
        found = Viewer(data, rows).show(np.arange(96), views.seeds_VN[view - 1])

        np.testing.assert_array_equal(found.features_NTD, expected.features_NTD)
        np.testing.assert_array_equal(views.gt_VN2[view - 1], expected.gt_N2)
    assert (views.gt_VN2[0] != views.gt_VN2[1]).any()


def test_a_view_more_leaves_the_others(data):
    """The first two of three views are those of two."""
    two, three = plan_views(data, 2), plan_views(data, 3)

    np.testing.assert_array_equal(three.seeds_VN[:2], two.seeds_VN)
    np.testing.assert_array_equal(three.gt_VN2[:2], two.gt_VN2)


def test_some_rows_alone(data, rows):
    """Rows shown in any company and order, even twice, are the same views."""
    views, viewer = plan_views(data, 1), Viewer(data, rows)
    every = viewer.show(np.arange(96), views.seeds_VN[0])
    index = np.array([70, 3, 3, 41])
    some = viewer.show(index, views.seeds_VN[0][index])

    np.testing.assert_array_equal(some.features_NTD, every.features_NTD[index])
    np.testing.assert_array_equal(some.gt_N2, every.gt_N2[index])


def test_without_a_train_split(make_data, tmp_path):
    """There is nothing to move: the option is named."""
    data = open_dataset(make_data(tmp_path / "data", train=0))

    with pytest.raises(RefkdError, match="has no train split, whose pairs --views moves"):
        plan_views(data, 1)
