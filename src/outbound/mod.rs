//! HTTP to other machines: one asynchronous client for whatever streams, one blocking agent for short calls from
//! threads.
//!
//! | module | requests |
//! |---|---|
//! | `client` | commands to a server, requests forwarded to an engine, objects of a bucket, alerts, trackers |
//! | `blocking` | the agent of the three below and of spans |
//! | `pictures` | pictures by URL, from listed hosts at public addresses |
//! | `rollouts` | which servers may sample for jobs |
//! | `webhooks` | questions to webhook rewards, at listed hosts; the check of an address and the signature of both |
//! | `alerts` | alerts to webhooks |
//! | `trackers` | JSON to trackers, at the addresses of the settings |
//! | `hub` | models and data sets from Hugging Face's hub, by commit |

mod address;
mod alerts;
mod blocking;
mod client;
mod hosts;
pub mod hub;
mod pictures;
mod rollouts;
mod trackers;
mod webhooks;

pub use alerts::{AlertSender, NotTaken};
pub use blocking::trusting;
pub use client::{
    Body, CaFileError, Client, Connections, OutboundError, Response, connections, empty, streamed, whole,
};
pub use pictures::{FetchError, ImageFetcher, Lookup};
pub use rollouts::RolloutHosts;
pub use trackers::{TrackerClient, TrackerFault};
pub use webhooks::{HttpWebhooks, check as check_webhook};
