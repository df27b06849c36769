"""Prints the PyTorch numbers stored in src/optimiser.rs and src/loss.rs (made with PyTorch 2.15)."""

import torch

p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
q = torch.nn.Parameter(torch.tensor([0.25, -0.75]))
adam = torch.optim.AdamW([{"params": [p], "weight_decay": 0.1}, {"params": [q], "weight_decay": 0.0}])
for step in range(5):
    for group in adam.param_groups:
        group["lr"] = 0.01 * (step + 1)
    p.grad = torch.tensor([0.1, -0.2, 1e-4, 3.0]) * (1.0 if step % 2 == 0 else -0.5) + 0.01 * step
    q.grad = torch.tensor([2.0, -1e-3]) * (step + 1)
    adam.step()
    print(p.tolist() + q.tolist())

z = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25, -2.0], dtype=torch.float64)
z = z.reshape(1, 3, 1, 3).requires_grad_()
target = torch.tensor([[[0, 2, 1]]])
prob, hot = z.softmax(1), torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).double()
entropy = torch.nn.functional.cross_entropy(z, target)
total = lambda t: t.sum((0, 2, 3))
dice = 1 - ((2 * total(prob * hot) + 1) / (total(prob) + total(hot) + 1))[1:].mean()
(entropy + dice).backward()
print(entropy.item(), dice.item(), z.grad.flatten().tolist())
