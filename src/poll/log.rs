//! Log lines of the poller. Levels: error for bugs of the exporter, warn for changes that need attention, info for the rest,
//! and debug for each poll.

use std::time::Duration;

use crate::{
    model::{ClusterName, KeyStore, PollFailure, PollResult, Privileges, Status},
    store::Change,
};

/// Logs every poll at level debug, to diagnose intermittent failures.
pub fn poll(cluster: &ClusterName, result: &Result<PollResult, PollFailure>, took: Duration) {
    let seconds = took.as_secs_f64();
    match result {
        Ok(result) => {
            let (status, encryption_type, api) = (result.status.label(), result.key_store.label(), result.api.label());
            tracing::debug!(%cluster, status, encryption_type, api, seconds, "polled");
        }
        Err(failure) => {
            let (reason, err) = (failure.reason.label(), &failure.message);
            tracing::debug!(%cluster, reason, %err, seconds, "poll ended without a status");
        }
    }
}

pub fn change(cluster: &ClusterName, change: &Change) {
    match change {
        Change::Api { from, to } => {
            tracing::info!(%cluster, from = from.label(), to = to.label(), "the API version changed");
        }
        Change::Crashed => {
            tracing::error!(%cluster, "the polling task panicked and will be restarted; please report this as a bug");
        }
        Change::Failing(failure) => {
            tracing::warn!(%cluster, reason = failure.reason.label(), err = %failure.message, "poll failed");
        }
        Change::First { key_store, status } => first(cluster, *key_store, status),
        Change::KeyStore { from, to } => {
            tracing::warn!(%cluster, from = from.label(), to = to.label(), "the key store changed");
        }
        Change::Kms { from, to } => {
            let (from_key, to_key) = (from.key_id(), to.key_id());
            let (from, to) = (from.address(), to.address());
            tracing::warn!(%cluster, from, from_key, to, to_key, "the KMS or its key changed");
        }
        Change::KmsNotAllowed(server) => {
            let kms = server.address();
            tracing::warn!(%cluster, kms, "the KMS is not probed: its address is outside the allowed networks");
        }
        Change::Privileges(privileges) => account(cluster, privileges),
        Change::Recovered => tracing::info!(%cluster, "polls succeed again"),
        Change::Status { from, to } => changed(cluster, from, to),
        Change::Unreadable { field, text } => {
            tracing::warn!(%cluster, field = field.label(), %text, "a date cannot be read; its series is absent");
        }
    }
}

/// Warns about the exporter's account. Without the needed privilege the next login will not see the status; with others, a
/// stolen credential does more damage.
fn account(cluster: &ClusterName, privileges: &Privileges) {
    const SHOWN: usize = 5;
    if !privileges.can_read {
        tracing::warn!(%cluster, needed = Privileges::NEEDED, "the account lacks a privilege that the next login will need");
    }
    if !privileges.excess.is_empty() {
        let count = privileges.excess.len();
        let some: Vec<&str> = privileges.excess.iter().take(SHOWN).map(|name| &**name).collect();
        let some = some.join(" ");
        tracing::warn!(%cluster, count, some, "the account has more privileges than it needs");
    }
}

fn first(cluster: &ClusterName, key_store: KeyStore, status: &Status) {
    let encryption_type = key_store.label();
    match status {
        Status::Unknown(text) => tracing::warn!(%cluster, %text, encryption_type, "the first status is not recognised"),
        good if is_good(good) => tracing::info!(%cluster, status = good.label(), encryption_type, "first status"),
        bad => tracing::warn!(%cluster, status = bad.label(), encryption_type, "first status"),
    }
}

fn changed(cluster: &ClusterName, from: &Status, to: &Status) {
    let from = from.label();
    match to {
        Status::Unknown(text) => {
            tracing::warn!(%cluster, from, %text, "the status changed to one that is not recognised")
        }
        good if is_good(good) => tracing::info!(%cluster, from, to = good.label(), "the status changed"),
        bad => tracing::warn!(%cluster, from, to = bad.label(), "the status changed"),
    }
}

/// `NotEncrypted` is not among them: whether it is acceptable depends on the policy.
fn is_good(status: &Status) -> bool {
    matches!(status, Status::Encrypted | Status::KmsAvailable)
}
