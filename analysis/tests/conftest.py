import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def close_figures():
    """Pictures that a test leaves open would pile up over all of them."""
    yield
    plt.close("all")
