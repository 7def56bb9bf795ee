//! End to end: real programs, real models, traced by the built `ggscope` and compared with what the same programs do
//! untraced, with the GGUF file read by other means, and with what llama.cpp's own callbacks see.

#[path = "support/mod.rs"]
mod support;

#[path = "e2e/adapters.rs"]
mod adapters;
#[path = "e2e/against.rs"]
mod against;
#[path = "e2e/attention.rs"]
mod attention;
#[path = "e2e/capture.rs"]
mod capture;
#[path = "e2e/contexts.rs"]
mod contexts;
#[path = "e2e/devices.rs"]
mod devices;
#[path = "e2e/experts.rs"]
mod experts;
#[path = "e2e/ggscope.rs"]
mod ggscope;
#[path = "e2e/gguf.rs"]
mod gguf;
#[path = "e2e/graphs.rs"]
mod graphs;
#[path = "e2e/heads.rs"]
mod heads;
#[path = "e2e/hosts.rs"]
mod hosts;
#[path = "e2e/inside.rs"]
mod inside;
#[path = "e2e/layers.rs"]
mod layers;
#[path = "e2e/order.rs"]
mod order;
#[path = "e2e/picture.rs"]
mod picture;
#[path = "e2e/record.rs"]
mod record;
#[path = "e2e/sequences.rs"]
mod sequences;
#[path = "e2e/state_space.rs"]
mod state_space;
#[path = "e2e/unnamed.rs"]
mod unnamed;
#[path = "e2e/values.rs"]
mod values;
