/** What PyTorch is compared by: the networks of training-step.ts, for `python3 -c SCRIPT NAME BATCH THREADS STEPS`. A line on its input is a turn, answered by the median processor time of a step and the median time by the clock. */
export const torchScript = `
import sys, time
try:
    import torch
    from torch import nn
except ImportError:
    sys.exit(3)
name, batch, threads, steps = sys.argv[1], *map(int, sys.argv[2:5])
torch.set_num_threads(threads)
torch.manual_seed(1)

def conv(i, o, k=1, s=1, g=1, act=None):
    layers = [nn.Conv2d(i, o, k, s, (k - 1) // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, act()) if act else nn.Sequential(*layers)

class Residual(nn.Module):
    def __init__(self, i, inner, o, k, s, act, expands=True):
        super().__init__()
        first = [conv(i, inner, act=act)] if expands else []
        self.layers = nn.Sequential(*first, conv(inner, inner, k, s, inner, act), conv(inner, o))
        self.adds = s == 1 and i == o
    def forward(self, x):
        y = self.layers(x)
        return x + y if self.adds else y

def sound():
    act, layers, c = nn.Hardswish, [conv(1, 16, 3, 2, 1, nn.Hardswish)], 16
    for inner, o, k, s in [(16, 16, 3, 2), (64, 24, 3, 2), (80, 24, 3, 1), (96, 40, 5, 2), (144, 40, 5, 1), (160, 48, 5, 1)]:
        layers.append(Residual(c, inner, o, k, s, act)); c = o
    return layers + [conv(c, 256, act=act)], 256, (1, 96, 64)

def mobilenet():
    def wide(c):
        r = max(8, int(c * 0.5 + 4) // 8 * 8)
        return r + 8 if r < 0.9 * c * 0.5 else r
    act, c = nn.ReLU6, wide(32)
    layers = [conv(3, c, 3, 2, 1, act)]
    for t, o, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(n):
            layers.append(Residual(c, c * t, wide(o), 3, s if i == 0 else 1, act, t != 1)); c = wide(o)
    return layers + [conv(c, 1280, act=act)], 1280, (3, 96, 96)

layers, features, dims = {'sound': sound, 'mobilenet': mobilenet}[name]()
net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 10)).to(memory_format=torch.channels_last).train()
x = torch.randn(batch, *dims).to(memory_format=torch.channels_last)
labels = torch.arange(batch) % 10
optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
print(torch.__version__, flush=True)
for _ in sys.stdin:
    cpu, clock = [], []
    for _ in range(steps):
        start, began = time.process_time(), time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
        cpu.append(1000 * (time.process_time() - start)); clock.append(1000 * (time.perf_counter() - began))
    print(sorted(cpu)[steps // 2], sorted(clock)[steps // 2], flush=True)
`;
