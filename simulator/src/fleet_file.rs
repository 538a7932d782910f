//! A fleet that follows its file while people edit it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fleet::{Changes, Fleet};
use super::fleet_spec::{FleetError, FleetSpec};

/// How often the file is compared with what was last read of it.
const PERIOD: Duration = Duration::from_millis(250);

/// Returns a file's text; the error says why it cannot be read.
pub type ReadText = fn(&Path) -> Result<String, String>;

/// A fleet file and the text last read of it.
#[derive(Debug)]
pub struct FleetFile {
    path: PathBuf,
    read: ReadText,
    text: String,
}

impl FleetFile {
    /// Reads a fleet file with `read`, now and whenever the fleet follows it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or what it says is not a fleet.
    pub fn open(path: &Path, read: ReadText) -> Result<(FleetFile, FleetSpec), FleetError> {
        let text = read(path).map_err(FleetError::Read)?;
        let spec = FleetSpec::parse(&text)?;
        Ok((FleetFile { path: path.to_owned(), read, text }, spec))
    }

    /// Applies the file to `fleet` if its text changed; says what that did.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a fleet: the fleet stays what it was. When a cluster
    /// cannot be started: the rest is applied. Each text is tried and reported once.
    pub async fn refresh(&mut self, fleet: &mut Fleet) -> Result<Option<Changes>, FleetError> {
        let text = (self.read)(&self.path).map_err(FleetError::Read)?;
        if text == self.text {
            return Ok(None);
        }
        self.text = text;
        fleet.apply(FleetSpec::parse(&self.text)?).await.map(Some)
    }

    /// Looks at the file four times a second until a change of it was applied to `fleet`, wholly or in part. Logs what
    /// changed, and why a change was not taken. Can be dropped at any time.
    pub async fn changed(&mut self, fleet: &mut Fleet) {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            let refreshed = self.refresh(fleet).await;
            let read_failed = matches!(refreshed, Err(FleetError::Read(_)));
            match refreshed {
                Ok(None) => {}
                Ok(Some(Changes { added, changed, removed })) => {
                    let [added, changed, removed] = [added, changed, removed].map(|names| names.join(", "));
                    tracing::info!(added, changed, removed, "simulated fleet changed");
                    return;
                }
                // Editors replace files: one that is gone is reported once.
                Err(_) if read_failed && unreadable => {}
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(file = %path, err = %error, "fleet file not applied");
                    if matches!(error, FleetError::Start { .. }) {
                        return;
                    }
                }
            }
            unreadable = read_failed;
        }
    }
}
