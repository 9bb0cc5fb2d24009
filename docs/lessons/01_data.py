# %% [markdown]
# # 1. Data: a batch
#
# *You will be able to* read one.

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions

import jaxnets.models.lenet5
import torchnets.models.lenet5

side_by_side(jaxnets.models.lenet5.LeNet5, torchnets.models.lenet5.LeNet5)

# %%
from matplotlib.figure import Figure

figure = Figure(figsize=(6, 2), layout="constrained")
figure.subplots().plot([1, 2, 3])
picture(figure, "a line")

# %% [markdown]
# The mean is $\frac{1}{n}\sum_i x_i$:
#
# $$\frac{1}{n}\sum_i x_i$$
#
# ## Exercises

# %% tags=["remove-input"]
solutions("01_data")
