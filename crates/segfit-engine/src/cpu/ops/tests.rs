//! Every plain operation against PyTorch, and what all of them promise.
