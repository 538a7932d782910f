//! What a cluster's encryption status is: values that have been understood.
//!
//! No serde, no IO, no clock. Everything above (the client) produces these types, everything below
//! (store, metrics, pages) consumes them, and neither knows the other.

use std::sync::Arc;

mod dates;
mod details;
mod failure;
mod identity;
mod key_store;
mod labels;
mod moment;
mod name;
mod policy;
mod status;
mod text;

pub use dates::{Date, DateField, Dates, KmsCertificate, Timestamp};
pub use details::{AccessToken, Account, Details, KmsServer, Privileges, ServerClock};
pub use failure::{FailureReason, PollFailure, Refusal};
pub use identity::{ApiVersion, ClusterId, CoreVersion, Identity};
pub use key_store::KeyStore;
pub use labels::{LabelError, Labels};
pub use moment::Moment;
pub use name::{ClusterName, ClusterNameError};
pub use policy::{About, Policy, Require};
pub use status::Status;
pub use text::ForeignText;

/// All that one successful poll tells of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which generation of the REST API answered.
    pub api: ApiVersion,
    /// What the cluster's clock showed with this answer.
    pub clock: Option<ServerClock>,
    /// The four dates, each understood or not on its own.
    pub dates: Dates,
    /// What is asked rarely.
    pub details: Arc<Details>,
    /// Where the master key is kept.
    pub key_store: KeyStore,
    /// The state of at-rest encryption.
    pub status: Status,
}
