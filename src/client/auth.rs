//! The credential of one cluster: an access token, or a session that is renewed when it ends.

use std::path::Path;

use reqwest::StatusCode;
use zeroize::Zeroize;

use super::{
    answer::ApiResponse,
    api::Api,
    decode, error,
    secret_file::{SecretError, SecretFile},
    settings::Credential,
};
use crate::{
    lanes::Lanes,
    model::{FailureReason, PollFailure, Refusal},
    secret::Secret,
};

/// What the cluster is asked with.
#[derive(Debug)]
pub enum Auth {
    /// A session.
    Session(Session),
    /// An access token.
    Token(SecretFile),
}

/// A login, and the token that it gave.
#[derive(Debug)]
pub struct Session {
    password: SecretFile,
    /// Valid for ten hours; its end shows as a 401.
    token: Option<Secret>,
    username: String,
}

// === impl Auth ===

impl Auth {
    /// Reads nothing yet.
    pub fn new(credential: &Credential) -> Self {
        match credential.clone() {
            Credential::Login { username, password } => {
                Self::Session(Session { password: SecretFile::password(password), token: None, username })
            }
            Credential::Token(source) => Self::Token(SecretFile::token(source)),
        }
    }

    /// The token to send. Without a session this logs in.
    ///
    /// # Errors
    ///
    /// When there is no credential, or the login fails.
    pub async fn token(&mut self, api: &Api, files: &Lanes) -> Result<Secret, PollFailure> {
        match self {
            Self::Token(file) => file.get(files).await.map_err(no_secret),
            Self::Session(session) => match &session.token {
                Some(token) if !session.password.changed(files).await => Ok(token.clone()),
                _ => session.login(api, files).await,
            },
        }
    }

    /// Another token after the cluster refused `refused`: the file read again, or one new login. `None` if there is
    /// nothing else to send.
    ///
    /// # Errors
    ///
    /// When there is no credential any more, or the login fails.
    pub async fn renew(&mut self, api: &Api, files: &Lanes, refused: &Secret) -> Result<Option<Secret>, PollFailure> {
        match self {
            Self::Token(file) => {
                let token = file.read(files).await.map_err(no_secret)?;
                Ok((token != *refused).then_some(token))
            }
            Self::Session(session) => session.login(api, files).await.map(Some),
        }
    }

    /// Reads the file of the credential, to see whether it can be used.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn check(&mut self) -> Result<Option<String>, SecretError> {
        match self {
            Self::Session(session) => session.password.check(),
            Self::Token(file) => file.check(),
        }
    }

    /// Whether the file of the credential changed since it was last read.
    pub async fn changed(&self, files: &Lanes) -> bool {
        self.file().changed(files).await
    }

    /// The file's path, for messages.
    pub fn path(&self) -> Option<&Path> {
        self.file().path()
    }

    fn file(&self) -> &SecretFile {
        match self {
            Self::Session(session) => &session.password,
            Self::Token(file) => file,
        }
    }
}

// === impl Session ===

impl Session {
    async fn login(&mut self, api: &Api, files: &Lanes) -> Result<Secret, PollFailure> {
        self.token = None;
        let password = self.password.get(files).await.map_err(no_secret)?;
        let mut answer = api.login(&self.username, &password).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // The file may have been replaced while the request was under way.
            let again = self.password.read(files).await.map_err(no_secret)?;
            if again != password {
                answer = api.login(&self.username, &again).await?;
            }
        }
        match answer.status {
            StatusCode::OK => {
                let token = decode::bearer_token(&answer.body);
                answer.body.zeroize();
                let token = token.map_err(|err| PollFailure::new(FailureReason::Malformed, err.to_string()))?;
                Ok(self.token.insert(token).clone())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused(&answer)),
            // Nobody knows whether such an attempt counts, so it slows down, unless the cluster says when to come again.
            _ => {
                let failure = error::bad_status(&answer, "/v1/session/login");
                let refusal = failure.retry_after.is_none().then_some(Refusal::Harmless);
                Err(PollFailure { refusal, ..failure })
            }
        }
    }

    fn refused(&self, answer: &ApiResponse) -> PollFailure {
        let (status, username) = (error::status_and_class(answer), &self.username);
        let text = format!(
            "the cluster refused the login of \"{username}\" ({status}); it is repeated rarely, so that the account is not \
             locked, and at once when the password file changes"
        );
        PollFailure { refusal: Some(Refusal::Locks), ..PollFailure::new(FailureReason::Authentication, text) }
    }
}

fn no_secret(err: SecretError) -> PollFailure {
    let text = format!("there is no credential to send: {err}");
    PollFailure { refusal: Some(Refusal::Harmless), ..PollFailure::new(FailureReason::Authentication, text) }
}
