//! The credential of one cluster: an access token, or a session that is renewed when it ends.

use std::time::Instant;

use reqwest::StatusCode;
use zeroize::Zeroize;

use super::{
    accounts::{Account, Paused},
    api::Api,
    decode, error,
    secret_file::{SecretError, SecretFile, parse_password, parse_token},
    settings::Credential,
    transport::TransportPool,
};
use crate::{
    model::{CredentialRejection, FailureReason, PollFailure},
    secret::Secret,
};

/// The credential of one cluster.
#[derive(Debug)]
pub struct Auth {
    /// The access token, or the password of the login.
    pub file: SecretFile,
    login: Option<Login>,
}

#[derive(Debug)]
struct Login {
    session: Option<Session>,
    username: String,
}

/// The token of a login, valid for ten hours; when it ends, the cluster responds with 401.
#[derive(Debug)]
struct Session {
    /// The password that it was issued for.
    password: Secret,
    token: Secret,
}

// === impl Auth ===

impl Auth {
    pub fn new(credential: &Credential) -> Self {
        match credential.clone() {
            Credential::Login { username, password } => {
                Self { file: SecretFile::new(password, parse_password), login: Some(Login { session: None, username }) }
            }
            Credential::Token(source) => Self { file: SecretFile::new(source, parse_token), login: None },
        }
    }

    /// The token to send. Logs in if there is no session.
    ///
    /// # Errors
    ///
    /// When there is no credential, or the login fails.
    pub async fn token(&mut self, api: &Api, pool: &TransportPool, now: Instant) -> Result<Secret, PollFailure> {
        let secret = self.file.get(&pool.files).await.map_err(no_secret)?;
        match &mut self.login {
            None => Ok(secret),
            Some(Login { session: Some(session), .. }) if session.password == secret => {
                api.guard(&secret);
                Ok(session.token.clone())
            }
            Some(login) => login.log_in(api, pool, now, secret).await,
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
        pool: &TransportPool,
        now: Instant,
        refused: &Secret,
    ) -> Result<Option<Secret>, PollFailure> {
        let secret = self.file.reread(&pool.files).await.map_err(no_secret)?;
        match &mut self.login {
            None => Ok((secret != *refused).then_some(secret)),
            Some(login) => login.log_in(api, pool, now, secret).await.map(Some),
        }
    }
}

// === impl Login ===

impl Login {
    async fn log_in(
        &mut self,
        api: &Api,
        pool: &TransportPool,
        now: Instant,
        password: Secret,
    ) -> Result<Secret, PollFailure> {
        self.session = None;
        let account = Account { host_and_port: api.peer.host_and_port.clone(), username: self.username.clone() };
        let attempt = pool.accounts.attempt(account, password.clone(), now).await;
        let attempt = attempt.map_err(|paused| not_yet(FailureReason::Authentication, paused))?;
        let mut response = api.login(&self.username, &password).await?;
        match response.status {
            StatusCode::OK => {
                attempt.accepted();
                let token = decode::bearer_token(&response.body);
                response.body.zeroize();
                let token = token.map_err(|err| PollFailure::new(FailureReason::Malformed, err.to_string()))?;
                self.session = Some(Session { password, token: token.clone() });
                Ok(token)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (status, username) = (error::status_and_class(&response), &self.username);
                let message = format!(
                    "the cluster refused the login of \"{username}\" ({status}); it is retried rarely, so that the account is \
                     not locked, and at once when the password changes"
                );
                let retry_after = Some(attempt.refused(&message));
                let failure = PollFailure::new(FailureReason::Authentication, message);
                Err(PollFailure { rejection: Some(CredentialRejection::LockoutRisk), retry_after, ..failure })
            }
            // Such an attempt may count towards a lock, so it slows down, unless the cluster says when to come again.
            _ => {
                let failure = error::bad_status(&response, "/v1/session/login");
                let rejection = failure.retry_after.is_none().then_some(CredentialRejection::NoLockout);
                Err(PollFailure { rejection, ..failure })
            }
        }
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
    let text = format!("no credential to send: {err}");
    PollFailure {
        rejection: Some(CredentialRejection::NoLockout),
        ..PollFailure::new(FailureReason::Authentication, text)
    }
}
