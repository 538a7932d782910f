//! What one step changed: the lines worth writing into a log, one per change and none per poll.

use super::{Failure, Snapshot};
use crate::model::{
    ApiVersion, Date, DateField, ForeignText, KeyStore, KmsProbe, KmsServer, PollFailure, PollResult, Privileges,
    Status,
};

/// Something that is different from the time before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Another generation of the API answers.
    Api {
        /// Before.
        from: ApiVersion,
        /// Now.
        to: ApiVersion,
    },
    /// The polling task died.
    Crashed,
    /// Polls fail, or fail for another reason than before.
    Failing(PollFailure),
    /// The first status.
    First {
        /// Where the key is.
        key_store: KeyStore,
        /// What it is.
        status: Status,
    },
    /// The key moved.
    KeyStore {
        /// Before.
        from: KeyStore,
        /// Now.
        to: KeyStore,
    },
    /// Another key management server, or another key there.
    Kms {
        /// Before.
        from: KmsServer,
        /// Now.
        to: KmsServer,
    },
    /// The key management server must not be contacted.
    KmsNotAllowed(KmsServer),
    /// The account has other privileges than before, and they are not those that it should have.
    Privileges(Privileges),
    /// Polls succeed again.
    Recovered,
    /// Another status.
    Status {
        /// Before.
        from: Status,
        /// Now.
        to: Status,
    },
    /// A date cannot be read, or cannot be read in another way than before.
    Unreadable {
        /// Which.
        field: DateField,
        /// What stands in its place.
        text: ForeignText,
    },
}

/// The changes from one snapshot to the next. Readings are compared across outages.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    availability(before, after, &mut changes);
    let (old, new) = (before.last_good.as_ref().map(|good| &good.1), after.last_good.as_ref().map(|good| &good.1));
    if let Some(new) = new {
        readings(old, new, &mut changes);
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

fn readings<'a>(old: Option<&'a PollResult>, new: &'a PollResult, changes: &mut Vec<Change>) {
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
    let server = |reading: &'a PollResult| reading.details.kms.as_ref();
    let place = |server: &'a KmsServer| (server.host(), server.port, server.key_id());
    if let (Some(from), Some(to)) = (old.and_then(server), server(new))
        && place(from) != place(to)
    {
        changes.push(Change::Kms { from: from.clone(), to: to.clone() });
    }
    let refused = |reading: &PollResult| reading.kms_probe == Some(KmsProbe::NotAllowed);
    if let Some(server) = server(new)
        && refused(new)
        && !old.is_some_and(refused)
    {
        changes.push(Change::KmsNotAllowed(server.clone()));
    }
    let privileges = |reading: &'a PollResult| reading.details.account.privileges.as_ref();
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
