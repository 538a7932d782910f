use std::fmt;

/// What is wrong with a configuration: all of it, to be mended in one go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mistakes(Vec<Mistake>);

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// What it is and what to write instead. Never a secret.
    pub problem: String,
    /// Where: a key path such as `clusters[0].url`, a flag, or a place such as `line 3, column 5`.
    pub place: String,
}

// === impl Mistakes ===

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Mistake { problem: problem.into(), place: place.into() });
    }

    /// `value`, unless there are mistakes.
    ///
    /// # Errors
    ///
    /// The mistakes.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The same with other places: keys of a file become flags.
    pub fn map_places(self, place: impl Fn(&str) -> String) -> Self {
        Self(self.0.into_iter().map(|mistake| Mistake { place: place(&mistake.place), ..mistake }).collect())
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", mistake.place, mistake.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
