//! The REST API: which paths there are, who may read them, what they say.
//!
//! Read-only by design. Everything but GET and the login is refused and counted, so that a test
//! can prove that a client never tries to change a cluster.

mod answer;
mod cluster;
mod encryption;
mod login;
mod tokens;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::spec::{ClusterSpec, Profile};
use super::state::{Applied, State};

pub(super) use self::answer::Answer;

/// A path of the API. The ones marked "open" need no bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// `/v1/session/login`, open.
    Login,
    /// `/v1/version`, open (documented).
    Version,
    /// `/v1/node/state`, open: the vendor's provisioning script reads it before its first login.
    NodeState,
    /// `/v1/encryption/status`.
    StatusV1,
    /// `/v2/encryption/key-store/status`.
    StatusV2,
    /// `/v2/encryption/key-store`.
    KeyStore,
    /// `/v1/session/who-am-i`.
    WhoAmI,
    /// `/v1/session/roles`.
    Roles,
    /// `POST /v1/identity/expand` and `find`, which write nothing: `qq who_am_i` ends with the first, and takes 403 for
    /// an answer. No cluster here has identities to tell.
    Identity,
    /// `/v1/auth/access-tokens/`, with the slash.
    Tokens,
    /// `/v1/auth/access-tokens/{id}`.
    Token(&'a str),
    /// Anything else.
    Unknown,
}

/// What it takes to read an endpoint.
enum Access {
    Open,
    LoggedIn,
    Privilege(&'static str),
    /// Any of one's own tokens where the cluster allows it, else a privilege.
    Tokens,
}

/// What an answer is made from.
struct Context<'a> {
    spec: &'a ClusterSpec,
    /// When `spec` was applied.
    applied: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl<'a> Endpoint<'a> {
    /// The endpoint at `path`.
    pub(super) fn of(path: &'a str) -> Endpoint<'a> {
        match path {
            "/v1/session/login" => Endpoint::Login,
            "/v1/version" => Endpoint::Version,
            "/v1/node/state" => Endpoint::NodeState,
            "/v1/encryption/status" => Endpoint::StatusV1,
            "/v2/encryption/key-store/status" => Endpoint::StatusV2,
            "/v2/encryption/key-store" => Endpoint::KeyStore,
            "/v1/session/who-am-i" => Endpoint::WhoAmI,
            "/v1/session/roles" => Endpoint::Roles,
            "/v1/identity/expand" | "/v1/identity/find" => Endpoint::Identity,
            "/v1/auth/access-tokens/" => Endpoint::Tokens,
            _ => path
                .strip_prefix("/v1/auth/access-tokens/")
                .filter(|id| !id.contains('/'))
                .map_or(Endpoint::Unknown, Endpoint::Token),
        }
    }

    /// Whether the encryption faults act on it.
    pub(super) fn is_encryption(self) -> bool {
        matches!(self, Endpoint::StatusV1 | Endpoint::StatusV2 | Endpoint::KeyStore)
    }

    /// Whether `identity_fault` acts on it.
    pub(super) fn is_identity(self) -> bool {
        matches!(self, Endpoint::Version | Endpoint::NodeState)
    }

    /// Whether `details_fault` acts on it.
    pub(super) fn is_detail(self) -> bool {
        matches!(self, Endpoint::KeyStore | Endpoint::WhoAmI | Endpoint::Tokens | Endpoint::Token(_))
    }

    /// Whether a release has it at all.
    fn exists_in(self, profile: Profile) -> bool {
        match self {
            Endpoint::Unknown => false,
            Endpoint::StatusV2 => profile != Profile::Core60,
            // 6.2.1 has one of a shape that no public source describes.
            Endpoint::KeyStore => !matches!(profile, Profile::Core60 | Profile::Core621),
            _ => true,
        }
    }

    /// What it takes to read it. The privileges come from the descriptions in the REST guide's
    /// list of privileges; only the first is documented per endpoint.
    fn access(self) -> Access {
        match self {
            Endpoint::StatusV1 | Endpoint::StatusV2 | Endpoint::KeyStore => {
                Access::Privilege("PRIVILEGE_ENCRYPTION_READ")
            }
            Endpoint::Identity => Access::Privilege("PRIVILEGE_IDENTITY_READ"),
            Endpoint::Tokens | Endpoint::Token(_) => Access::Tokens,
            Endpoint::WhoAmI | Endpoint::Roles => Access::LoggedIn,
            Endpoint::Login | Endpoint::Version | Endpoint::NodeState | Endpoint::Unknown => Access::Open,
        }
    }
}

/// What the cluster says to a request, faults aside.
pub(super) async fn answer(
    state: &State,
    applied: &Applied,
    endpoint: Endpoint<'_>,
    head: &Parts,
    body: Incoming,
) -> Answer {
    if endpoint == Endpoint::Login && head.method == Method::POST {
        return login::log_in(state, &applied.spec, body).await;
    }
    let is_post = matches!(endpoint, Endpoint::Login | Endpoint::Identity);
    match head.method {
        Method::GET if is_post => {
            return Answer::error(StatusCode::METHOD_NOT_ALLOWED, "Use POST.").with(ALLOW, "POST");
        }
        Method::GET => {}
        Method::POST if is_post => {}
        _ => return refuse_write(state, applied, head),
    }
    let context = Context { spec: &applied.spec, applied: applied.at, now: state.now() };
    if !endpoint.exists_in(context.spec.profile) {
        return Answer::error(StatusCode::NOT_FOUND, "No such resource.");
    }
    let query = head.uri.query().unwrap_or_default();
    match context.refusal(state, endpoint, head, query) {
        Some(refusal) => refusal,
        None => context.read(endpoint, query),
    }
}

fn refuse_write(state: &State, applied: &Applied, head: &Parts) -> Answer {
    state.counter.add(|counts| counts.refused_writes += 1);
    let (method, path) = (&head.method, head.uri.path());
    tracing::warn!(cluster = applied.spec.name, %method, path, "simulated cluster refused a write");
    let description = "A simulated cluster cannot be changed through its API.";
    Answer::error(StatusCode::METHOD_NOT_ALLOWED, description).with(ALLOW, "GET")
}

impl Context<'_> {
    /// Why the request may not read the endpoint: 401, 403, or `None` when it may.
    fn refusal(&self, state: &State, endpoint: Endpoint<'_>, head: &Parts, query: &str) -> Option<Answer> {
        let access = endpoint.access();
        if let Access::Open = access {
            return None;
        }
        if !self.is_authenticated(state, bearer(head)) {
            let description = "Need to log in first to establish credentials.";
            return Some(Answer::error(StatusCode::UNAUTHORIZED, description));
        }
        let (privilege, excused) = match access {
            Access::Open | Access::LoggedIn => return None,
            Access::Privilege(privilege) => (privilege, false),
            Access::Tokens => (tokens::PRIVILEGE, tokens::only_own(self.spec, endpoint, query)),
        };
        let allowed = excused || self.spec.auth.privileges.iter().any(|held| held == privilege);
        (!allowed).then(|| Answer::error(StatusCode::FORBIDDEN, &format!("Requires privilege {privilege}.")))
    }

    /// Whether a bearer token is the access token or that of a session.
    fn is_authenticated(&self, state: &State, bearer: Option<&str>) -> bool {
        let Some(bearer) = bearer else { return false };
        let auth = &self.spec.auth;
        if bearer == self.spec.token() {
            let expiry = self.spec.token_expires_at(self.applied);
            return auth.token_enabled && expiry.is_none_or(|expiry| self.now < expiry);
        }
        state.sessions.is_open(bearer, self.now, auth.session_hours)
    }

    fn read(&self, endpoint: Endpoint<'_>, query: &str) -> Answer {
        match endpoint {
            Endpoint::StatusV1 => encryption::status_v1(self),
            Endpoint::StatusV2 => encryption::status_v2(self),
            Endpoint::KeyStore => encryption::key_store(self),
            Endpoint::Version => cluster::version(self.spec),
            Endpoint::NodeState => cluster::node_state(self.spec),
            Endpoint::WhoAmI => login::who_am_i(self.spec),
            Endpoint::Roles => login::roles(),
            Endpoint::Tokens => tokens::list(self, query),
            Endpoint::Token(id) => tokens::get(self, id),
            Endpoint::Identity | Endpoint::Login | Endpoint::Unknown => {
                Answer::error(StatusCode::NOT_FOUND, "No such resource.")
            }
        }
    }
}

pub(super) fn bearer(head: &Parts) -> Option<&str> {
    head.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
