use crate::model::{KmsCertificate, Moment, Reading, Status};

/// What one answer alone does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Since when the KMS has been of no use, over all states in which it is: no connection, a refusal, an expired
    /// certificate.
    pub kms_unusable_since: Option<Moment>,
    /// A verdict about the key that nothing has lifted, and when it was first reported.
    pub verdict: Option<(Moment, Status)>,
}

// === impl History ===

impl History {
    /// With one more answer, of this moment.
    pub(super) fn after(self, at: Moment, reading: &Reading) -> Self {
        let expired = |certificate: KmsCertificate| {
            reading.expiry(certificate).is_some_and(|expiry| expiry.unix_seconds() <= at.unix_seconds())
        };
        let unusable = matches!(reading.status, Status::KmsCannotConnect | Status::KmsAuthenticationError)
            || KmsCertificate::ALL.into_iter().any(expired);
        let verdict = match &reading.status {
            Status::KmsKeyNotFound | Status::KmsKeyInactive => match self.verdict {
                Some((since, before)) if before == reading.status => Some((since, before)),
                _ => Some((at, reading.status.clone())),
            },
            // These speak about the key.
            Status::Encrypted | Status::KmsAvailable | Status::NotEncrypted => None,
            _ => self.verdict,
        };
        Self { kms_unusable_since: unusable.then(|| self.kms_unusable_since.unwrap_or(at)), verdict }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::model::{Date, DateField, Dates, ForeignText, KeyStore, Timestamp};

    #[test]
    fn a_verdict_about_the_key_is_lifted_by_a_status_that_speaks_about_it() {
        let origin = Instant::now();
        let at = |seconds| Moment { mono: origin + Duration::from_secs(seconds), wall: DateTime::UNIX_EPOCH };
        let reading = |status| Reading { key_store: KeyStore::Kms, ..Reading::local(status) };
        let check = |statuses: &[Status], verdict: Option<(u64, Status)>, unusable: Option<u64>| {
            let mut history = History::default();
            for (second, status) in statuses.iter().enumerate() {
                history = history.after(at(second as u64), &reading(status.clone()));
            }
            let got = history.verdict.map(|(since, status)| ((since.mono - origin).as_secs(), status));
            assert_eq!(got, verdict, "{statuses:?}");
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
        check(&[KmsKeyNotFound, KmsCannotConnect, odd.clone()], Some((0, KmsKeyNotFound)), None);
        check(&[KmsKeyNotFound, KmsKeyInactive], Some((1, KmsKeyInactive)), None);
        check(&[KmsKeyNotFound, KmsCannotConnect, KmsAvailable], None, None);
        check(&[KmsKeyInactive, Encrypted], None, None);
        check(&[KmsCannotConnect, KmsAuthenticationError, KmsCannotConnect], None, Some(0));
        check(&[KmsCannotConnect, KmsAvailable, KmsAuthenticationError], None, Some(2));
        check(&[KmsKeyNotFound, KmsCannotConnect], Some((0, KmsKeyNotFound)), Some(1));
    }

    #[test]
    fn a_certificate_that_has_expired_makes_the_kms_unusable() {
        let origin = Instant::now();
        let expires = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let dates = Dates::from_fn(|field| match field {
            DateField::ClientCertExpiry => Date::At(Timestamp::new(expires).unwrap()),
            _ => Date::NotReported,
        });
        let answer = Reading { dates, key_store: KeyStore::Kms, ..Reading::local(Status::KmsAvailable) };
        for (second, unusable) in [(-1, false), (0, true), (1, true)] {
            let at = Moment { mono: origin, wall: expires + TimeDelta::seconds(second) };
            assert_eq!(History::default().after(at, &answer).kms_unusable_since, unusable.then_some(at), "{second}");
        }
    }
}
