//! The credential of one cluster: an access token, or a session that is renewed when it ends.

use std::{path::Path, time::Instant};

use reqwest::StatusCode;
use zeroize::Zeroize;

use super::{
    accounts::{Account, Accounts, Paused},
    answer::ApiResponse,
    api::Api,
    decode, error,
    secret_file::{SecretError, SecretFile},
    settings::Credential,
};
use crate::{
    blocking::KeyedBlockingPool,
    model::{CredentialRejection, FailureReason, PollFailure},
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
    /// The token, valid for ten hours; its end shows as a 401. And the password that it was given for.
    token: Option<(Secret, Secret)>,
    username: String,
}

/// What credentials need beside the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    pub accounts: &'a Accounts,
    pub files: &'a KeyedBlockingPool,
    /// The time of the poll.
    pub now: Instant,
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
    pub async fn token(&mut self, api: &Api, with: Resources<'_>) -> Result<Secret, PollFailure> {
        match self {
            Self::Token(file) => file.get(with.files).await.map_err(no_secret),
            Self::Session(session) => {
                let password = session.password.get(with.files).await.map_err(no_secret)?;
                match &session.token {
                    Some((token, used)) if *used == password => {
                        api.guard(&password);
                        Ok(token.clone())
                    }
                    _ => session.login(api, with, password).await,
                }
            }
        }
    }

    /// Another token after the cluster refused `refused`: the file read again, or one new login. `None` if there is
    /// nothing else to send.
    ///
    /// # Errors
    ///
    /// When there is no credential any more, or the login fails.
    pub async fn renew(
        &mut self,
        api: &Api,
        with: Resources<'_>,
        refused: &Secret,
    ) -> Result<Option<Secret>, PollFailure> {
        match self {
            Self::Token(file) => {
                let token = file.read(with.files).await.map_err(no_secret)?;
                Ok((token != *refused).then_some(token))
            }
            Self::Session(session) => {
                let password = session.password.get(with.files).await.map_err(no_secret)?;
                session.login(api, with, password).await.map(Some)
            }
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
    pub async fn changed(&self, files: &KeyedBlockingPool) -> bool {
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
    async fn login(&mut self, api: &Api, with: Resources<'_>, password: Secret) -> Result<Secret, PollFailure> {
        self.token = None;
        let failure = match self.log_in(api, with, &password).await {
            Err(failure) if failure.rejection == Some(CredentialRejection::LockoutRisk) => failure,
            outcome => return outcome,
        };
        // The file may have been replaced while the request was under way.
        let again = self.password.read(with.files).await.map_err(no_secret)?;
        if again == password { Err(failure) } else { self.log_in(api, with, &again).await }
    }

    async fn log_in(&mut self, api: &Api, with: Resources<'_>, password: &Secret) -> Result<Secret, PollFailure> {
        let account = Account { place: api.place().to_owned(), username: self.username.clone() };
        let attempt = with.accounts.attempt(account, password.clone(), with.now).await;
        let attempt = attempt.map_err(|paused| not_yet(FailureReason::Authentication, paused))?;
        let mut answer = api.login(&self.username, password).await?;
        match answer.status {
            StatusCode::OK => {
                attempt.accepted();
                let token = decode::bearer_token(&answer.body);
                answer.body.zeroize();
                let token = token.map_err(|err| PollFailure::new(FailureReason::Malformed, err.to_string()))?;
                self.token = Some((token.clone(), password.clone()));
                Ok(token)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = self.refused(&answer);
                let retry_after = Some(attempt.refused(&message));
                let failure = PollFailure::new(FailureReason::Authentication, message);
                Err(PollFailure { rejection: Some(CredentialRejection::LockoutRisk), retry_after, ..failure })
            }
            // Nobody knows whether such an attempt counts, so it slows down, unless the cluster says when to come again.
            _ => {
                let failure = error::bad_status(&answer, "/v1/session/login");
                let rejection = failure.retry_after.is_none().then_some(CredentialRejection::NoLockout);
                Err(PollFailure { rejection, ..failure })
            }
        }
    }

    fn refused(&self, answer: &ApiResponse) -> String {
        let (status, username) = (error::status_and_class(answer), &self.username);
        format!(
            "the cluster refused the login of \"{username}\" ({status}); it is repeated rarely, so that the account is not \
             locked, and at once when the password changes"
        )
    }
}

/// A password that was refused is not sent again yet.
pub fn not_yet(reason: FailureReason, paused: Paused) -> PollFailure {
    let Paused { message, remaining } = paused;
    PollFailure {
        rejection: Some(CredentialRejection::LockoutRisk),
        retry_after: Some(remaining),
        ..PollFailure::new(reason, message)
    }
}

fn no_secret(err: SecretError) -> PollFailure {
    let text = format!("there is no credential to send: {err}");
    PollFailure {
        rejection: Some(CredentialRejection::NoLockout),
        ..PollFailure::new(FailureReason::Authentication, text)
    }
}
