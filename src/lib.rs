//! VGPO: train vision-language models that keep looking at the image, and serve them with attention maps.
//!
//! This page is the map of the house: every room in one line, and who may use whom. Arrows point down only;
//! the test `layering` reads this table and every `use crate::` line and fails on an arrow that is not listed here.
//!
//! | room | what lives there | may use |
//! |---|---|---|
//! | `cli` | the command line: one file per command | (all) |
//! | `http` | router, problem+json, limits; one file per resource, handlers of a few lines | service, telemetry, serving, config, domain, clock |
//! | `service` | what the API means: submit a job, publish a checkpoint, query metrics | forward, telemetry, store, serving, artifacts, starter, outbound, export, config, data, images, prompt, similarity, reward, algorithm, footprint, model, domain, clock |
//! | `worker` | claim, heartbeat, cancel, drain; one leased job -> one trainer, in a process of its own, or ranks by a launcher | train, collective, store, artifacts, config, data, prompt, reward, footprint, model, domain, clock |
//! | `bench` | measurements of the program's own parts on fixed shapes, each in a process of its own | starter, train, serving, footprint, model, algorithm, data, images, reward, config, domain, clock |
//! | `starter` | the model that ships with the program: its files, and the recipe that makes them | train, model, prompt, data, reward, config, domain |
//! | `samplers` | rollouts on servers of vLLM, SGLang or this program: one file per program | train, images, outbound, config, domain, clock |
//! | `train` | the trainer's loop, rollout, optimizer, checkpoints, evaluation | collective, model, prompt, data, algorithm, reward, images, config, domain, clock |
//! | `backup` | database and artifacts at one moment, saved and put back | store, artifacts, domain, clock |
//! | `export` | a run as TensorBoard, MLflow and tables hold it | domain |
//! | `forward` | engines on other servers: which one takes a request, and the conversation with it | telemetry, serving, outbound, config, domain |
//! | `telemetry` | figures for Prometheus, traces for OpenTelemetry | outbound, domain |
//! | `serving` | the engine that owns a model, batching, attention maps, heat-map pictures | model, prompt, algorithm, images, config, domain, clock |
//! | `import` | configurations of other trainers as jobs of this one | |
//! | `footprint` | how much memory a job needs by part, and which settings would make it fit | algorithm, model, config, domain |
//! | `store` | the database: what people ask and what processes write, one text for SQLite and PostgreSQL | domain, clock |
//! | `artifacts` | checkpoints and other files behind one interface: a folder, or a bucket | outbound, config, domain, clock |
//! | `outbound` | HTTP to other machines: a streaming client, pictures by URL, webhooks, Hugging Face's hub | reward, config, domain, clock |
//! | `algorithm` | pure functions over groups of trajectories: vgpo, grpo, sft; no model, no I/O | domain |
//! | `similarity` | how alike a picture and a text are, by a CLIP or SigLIP checkpoint | reward, prompt, model, domain |
//! | `reward` | one file per reward | domain |
//! | `data` | data set readers and the built-in generated tasks | images, domain |
//! | `prompt` | tokenizer, chat template, image processor: messages + images -> model inputs | model, images, domain, clock |
//! | `model` | the vision-language models: differentiable ops, families, weights, sampling | domain |
//! | `images` | bytes from outside to pixels, sizes judged before anything is decoded; pixels to PNG | |
//! | `collective` | what joins the ranks of one job: threads, processes over MPI, sums on GPUs by NCCL | clock |
//! | `config` | the only place where defaults live: file, environment, flags, job settings | domain |
//! | `domain` | plain data: jobs, runs, metrics, checkpoints, messages, job settings | |
//! | `clock` | the only door for the wall clock and for randomness | |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod algorithm;
pub mod artifacts;
pub mod backup;
pub mod bench;
mod cli;
pub mod clock;
pub mod collective;
pub mod config;
pub mod data;
pub mod domain;
pub mod export;
pub mod footprint;
pub mod forward;
pub mod http;
pub mod images;
pub mod import;
pub mod model;
pub mod outbound;
pub mod prompt;
pub mod reward;
pub mod samplers;
pub mod service;
pub mod serving;
pub mod similarity;
pub mod starter;
pub mod store;
pub mod telemetry;
pub mod train;
pub mod worker;

// The command line lives here and not in the binary, so that what both instantiate is compiled once.
pub use cli::{Cli, PRODUCT_THREADS};
