//! Differences between two snapshots, for the log: one line per change, not one per poll.

use super::{Failure, Snapshot};
use crate::model::{
    ApiVersion, Date, DateField, ForeignText, KeyStore, KmsProbe, KmsServer, PollFailure, PollResult, Privileges,
    Status,
};

/// A difference between two snapshots of a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    Api {
        from: ApiVersion,
        to: ApiVersion,
    },
    /// The polling task panicked.
    Crashed,
    /// The poll failed, and the previous one succeeded or failed for a different reason.
    Failing(PollFailure),
    First {
        key_store: KeyStore,
        status: Status,
    },
    KeyStore {
        from: KeyStore,
        to: KeyStore,
    },
    /// The address of the KMS or the key identifier changed.
    Kms {
        from: KmsServer,
        to: KmsServer,
    },
    /// The address of the KMS is outside the networks that may be contacted.
    KmsNotAllowed(KmsServer),
    /// The privileges changed, and the needed one is missing or others are present.
    Privileges(Privileges),
    Recovered,
    Status {
        from: Status,
        to: Status,
    },
    /// A date cannot be read, and the previous value was different. `text` is what the cluster sent.
    Unreadable {
        field: DateField,
        text: ForeignText,
    },
}

/// Results are compared across outages: with the last success, not with the last poll.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    availability(before, after, &mut changes);
    let (old, new) = (before.last_good.as_ref().map(|good| &good.1), after.last_good.as_ref().map(|good| &good.1));
    if let Some(new) = new {
        compare_results(old, new, &mut changes);
    }
    changes
}

fn availability(before: &Snapshot, after: &Snapshot, changes: &mut Vec<Change>) {
    let failure = |snapshot: &Snapshot| snapshot.last_poll.as_ref().and_then(|last| last.failure.clone());
    match (failure(before), failure(after)) {
        (_, Some(Failure::Crash)) => changes.push(Change::Crashed),
        (Some(Failure::Poll(old)), Some(Failure::Poll(new))) if old.reason == new.reason => {}
        (_, Some(Failure::Poll(new))) => changes.push(Change::Failing(new)),
        (Some(_), None) => changes.push(Change::Recovered),
        (None, None) => {}
    }
}

fn compare_results<'a>(old: Option<&'a PollResult>, new: &'a PollResult, changes: &mut Vec<Change>) {
    match old {
        None => changes.push(Change::First { key_store: new.key_store, status: new.status.clone() }),
        Some(old) => {
            if old.status != new.status {
                changes.push(Change::Status { from: old.status.clone(), to: new.status.clone() });
            }
            if old.key_store != new.key_store {
                changes.push(Change::KeyStore { from: old.key_store, to: new.key_store });
            }
            if old.api != new.api {
                changes.push(Change::Api { from: old.api, to: new.api });
            }
        }
    }
    let server = |result: &'a PollResult| result.details.kms.as_ref();
    let address_and_key = |server: &'a KmsServer| (server.host(), server.port, server.key_id());
    if let (Some(from), Some(to)) = (old.and_then(server), server(new))
        && address_and_key(from) != address_and_key(to)
    {
        changes.push(Change::Kms { from: from.clone(), to: to.clone() });
    }
    let not_allowed = |result: &PollResult| result.kms_probe == Some(KmsProbe::NotAllowed);
    if let Some(server) = server(new)
        && not_allowed(new)
        && !old.is_some_and(not_allowed)
    {
        changes.push(Change::KmsNotAllowed(server.clone()));
    }
    let privileges = |result: &'a PollResult| result.details.account.privileges.as_ref();
    if let Some(now) = privileges(new)
        && old.and_then(privileges) != Some(now)
        && (!now.can_read || !now.excess.is_empty())
    {
        changes.push(Change::Privileges(now.clone()));
    }
    for field in DateField::ALL {
        if let Date::Unreadable(text) = new.dates.get(field)
            && old.is_none_or(|old| old.dates.get(field) != new.dates.get(field))
        {
            changes.push(Change::Unreadable { field, text: text.clone() });
        }
    }
}
