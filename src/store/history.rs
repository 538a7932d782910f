use crate::model::{ClockTime, KmsCertificate, PollResult, Status};

/// State derived from more than one poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// When the KMS became unusable. Not reset by a change from one unusable state to another.
    pub kms_unusable_since: Option<ClockTime>,
    /// The last status and the time of its first poll.
    pub status: Option<(ClockTime, Status)>,
    /// `KmsKeyNotFound` or `KmsKeyInactive`, and the time of its first poll. Cleared only by a status that reveals the state
    /// of the key.
    pub key_fault: Option<(ClockTime, Status)>,
}

// === impl History ===

impl History {
    /// The history after a poll that succeeded at `at`.
    pub(super) fn after(self, at: ClockTime, result: &PollResult) -> Self {
        let expired = |certificate: KmsCertificate| {
            result.expiry(certificate).is_some_and(|expiry| expiry.unix_seconds() <= at.unix_seconds())
        };
        let kms_unusable_since = match &result.status {
            Status::KmsCannotConnect | Status::KmsAuthenticationError => self.kms_unusable_since.or(Some(at)),
            // The KMS responded, or none is used: an expired certificate has not broken anything yet.
            status if status.reveals_key_state() => None,
            // These do not reveal whether the KMS can be used.
            _ => self.kms_unusable_since.or_else(|| KmsCertificate::ALL.into_iter().any(expired).then_some(at)),
        };
        let since = |before: Option<(ClockTime, Status)>| match before {
            Some((since, status)) if status == result.status => Some((since, status)),
            _ => Some((at, result.status.clone())),
        };
        let key_fault = match &result.status {
            Status::KmsKeyNotFound | Status::KmsKeyInactive => since(self.key_fault),
            status if status.reveals_key_state() => None,
            _ => self.key_fault,
        };
        Self { kms_unusable_since, status: since(self.status), key_fault }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::model::{Date, DateField, Dates, ForeignText, KeyStore, Timestamp};

    #[test]
    fn a_key_fault_is_cleared_only_by_a_status_that_reveals_the_key_state() {
        let origin = Instant::now();
        let at = |seconds| ClockTime { mono: origin + Duration::from_secs(seconds), wall: DateTime::UNIX_EPOCH };
        let result = |status| PollResult { key_store: KeyStore::Kms, ..PollResult::local(status) };
        let check = |statuses: &[Status], key_fault: Option<(u64, Status)>, unusable: Option<u64>| {
            let mut history = History::default();
            for (second, status) in statuses.iter().enumerate() {
                history = history.after(at(second as u64), &result(status.clone()));
            }
            let got = history.key_fault.map(|(since, status)| ((since.mono - origin).as_secs(), status));
            assert_eq!(got, key_fault, "{statuses:?}");
            assert_eq!(
                history.kms_unusable_since.map(|since| (since.mono - origin).as_secs()),
                unusable,
                "{statuses:?}"
            );
        };
        use Status::{
            Encrypted, KmsAuthenticationError, KmsAvailable, KmsCannotConnect, KmsKeyInactive, KmsKeyNotFound, Unknown,
        };
        let odd = Unknown(ForeignText::new("odd"));
        check(&[], None, None);
        check(&[KmsKeyNotFound, KmsKeyNotFound], Some((0, KmsKeyNotFound)), None);
        check(&[KmsKeyNotFound, KmsCannotConnect, odd.clone()], Some((0, KmsKeyNotFound)), Some(1));
        check(&[KmsKeyNotFound, KmsKeyInactive], Some((1, KmsKeyInactive)), None);
        check(&[KmsKeyNotFound, KmsCannotConnect, KmsAvailable], None, None);
        check(&[KmsKeyInactive, Encrypted], None, None);
        check(&[KmsCannotConnect, KmsAuthenticationError, KmsCannotConnect], None, Some(0));
        check(&[KmsCannotConnect, KmsAvailable, KmsAuthenticationError], None, Some(2));
        check(&[KmsCannotConnect, odd.clone(), KmsCannotConnect], None, Some(0));
        check(&[KmsCannotConnect, KmsKeyNotFound, KmsCannotConnect], Some((1, KmsKeyNotFound)), Some(2));
        check(&[KmsKeyNotFound, KmsCannotConnect], Some((0, KmsKeyNotFound)), Some(1));
    }

    /// The expiry of a certificate makes a KMS unusable only if the status does not show that the KMS can be reached.
    #[test]
    fn an_expired_certificate_does_not_make_a_kms_unusable_that_answers() {
        let origin = Instant::now();
        let expires = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let dates = Dates::from_fn(|field| match field {
            DateField::CaCertExpiry => Date::At(Timestamp::new(expires).unwrap()),
            _ => Date::NotReported,
        });
        let odd = Status::Unknown(ForeignText::new("odd"));
        for (status, expect) in [
            (Status::KmsAvailable, [false, false, false]),
            (Status::KmsKeyNotFound, [false, false, false]),
            (odd, [false, true, true]),
            (Status::ConfigurationCorrupted, [false, true, true]),
            (Status::KmsCannotConnect, [true, true, true]),
        ] {
            let answer = PollResult { dates: dates.clone(), key_store: KeyStore::Kms, ..PollResult::local(status) };
            for (second, unusable) in [-1, 0, 1].into_iter().zip(expect) {
                let at = ClockTime { mono: origin, wall: expires + TimeDelta::seconds(second) };
                let since = History::default().after(at, &answer).kms_unusable_since;
                assert_eq!(since, unusable.then_some(at), "{answer:?} {second}");
            }
        }
    }
}
