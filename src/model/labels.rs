use std::sync::Arc;

/// User-defined labels of a cluster, for joins. Cheap to clone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

/// Why a label is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LabelError {
    #[error("is not a valid label name; use letters, digits and underscores, and do not start with a digit or __")]
    Name,
    #[error("is a label that the exporter or Prometheus sets itself; choose another name")]
    Reserved,
    #[error("must have a value of at most 256 bytes without line breaks or other control characters")]
    Value,
}

// === impl Labels ===

impl Labels {
    /// Names that the exporter or Prometheus uses.
    pub const RESERVED: [&str; 6] = ["api", "cluster", "cluster_id", "instance", "job", "version"];

    /// # Errors
    ///
    /// Every invalid label, by name.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Vec<(String, LabelError)>> {
        let (mut labels, mut errors) = (Vec::new(), Vec::new());
        for (name, value) in pairs {
            match check(name, value) {
                Ok(()) => labels.push((name.into(), value.into())),
                Err(err) => errors.push((name.to_owned(), err)),
            }
        }
        if errors.is_empty() { Ok(Self(labels.into())) } else { Err(errors) }
    }

    /// Pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

fn check(name: &str, value: &str) -> Result<(), LabelError> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !first || name.starts_with("__") || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Err(LabelError::Name)
    } else if Labels::RESERVED.contains(&name) {
        Err(LabelError::Reserved)
    } else if value.len() > 256 || value.chars().any(char::is_control) {
        Err(LabelError::Value)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_prometheus_that_are_free() {
        let check = |name: &str, value: &str, expect: Option<LabelError>| {
            let got = Labels::new([(name, value)]).err().map(|errors| errors[0].1);
            assert_eq!(got, expect, "{name:?} {value:?}");
        };
        check("site", "berlin", None);
        check("_site2", "\"Köln\"\\", None);
        check("2site", "", Some(LabelError::Name));
        check("", "", Some(LabelError::Name));
        check("si-te", "", Some(LabelError::Name));
        check("__name__", "", Some(LabelError::Name));
        check("cluster", "", Some(LabelError::Reserved));
        check("job", "", Some(LabelError::Reserved));
        check("site", "a\nb", Some(LabelError::Value));
        check("site", &"a".repeat(256), None);
        check("site", &"a".repeat(257), Some(LabelError::Value));
    }
}
