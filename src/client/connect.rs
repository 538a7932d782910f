//! New connections: name, TCP, perhaps the tunnel of a proxy, TLS.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue, PROXY_AUTHORIZATION},
};
use hyper_util::{
    client::{legacy::connect::HttpConnector, proxy::matcher::Matcher},
    rt::TokioIo,
};
use rustls::{
    ClientConfig,
    client::{Resumption, Tls12Resumption},
    pki_types::ServerName,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{exchange, resolve::Resolver, verify};
use crate::model::Timestamp;

/// How soon a peer that has gone without a word is noticed: so long without a sign of it, and so often asked for one.
const SILENT: Duration = Duration::from_secs(15);
const ASKED: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// TLS sessions that a cluster needs room for: rustls keeps eight tickets for a server, and a proxy may be a second one.
const SESSIONS: usize = 16;

/// What bytes are sent and received with.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are made; shared by all clusters that are reached in the same way.
pub struct Connector {
    /// The time limit of connecting, tunnel and TLS included.
    pub limit: Duration,
    /// Which proxy carries it.
    pub proxies: Proxies,
    /// Names and TCP.
    pub tcp: HttpConnector<Resolver>,
    /// `None` for plain HTTP.
    pub tls: Option<ClientConfig>,
}

/// Which proxies there are.
pub enum Proxies {
    /// None.
    None,
    /// Those that the environment names.
    Environment(Matcher),
    /// This one.
    One {
        /// User and password, as they are sent.
        account: Option<HeaderValue>,
        /// Takes what goes through the proxy, whichever that is.
        matcher: Matcher,
        /// Where it is.
        uri: Uri,
    },
}

/// The way to one cluster: how to connect, with TLS sessions of its own to resume.
#[derive(Clone)]
pub struct Way {
    connector: Arc<Connector>,
    tls: Option<TlsConnector>,
}

/// A new connection.
pub struct Connection {
    /// When the certificate that was shown expires.
    pub certificate: Option<Timestamp>,
    /// What to send and receive with.
    pub stream: Box<dyn Stream>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// What the system, the resolver or TLS says.
    Failed(Box<dyn Error + Send + Sync>),
    /// https was asked for, with a connector for plain HTTP.
    NoTls,
    /// The proxy makes none.
    Proxy(ProxyError),
    /// It took too long.
    TooSlow,
}

/// Why a proxy makes no connection.
#[derive(Debug)]
pub enum ProxyError {
    /// It ended the connection, or does not speak HTTP.
    Ended,
    /// It speaks something else than HTTP, as its URL says.
    Kind,
    /// It answered CONNECT with this.
    Refused(StatusCode),
    /// There is no connection to the proxy itself.
    Unreachable(Box<dyn Error + Send + Sync>),
}

// === impl Connector ===

impl Connector {
    /// TCP with names from `resolver`.
    pub fn tcp(resolver: Resolver, limit: Duration) -> HttpConnector<Resolver> {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(SILENT));
        tcp.set_keepalive_interval(Some(SILENT));
        tcp.set_keepalive_retries(Some(ASKED));
        tcp.set_nodelay(true);
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        tcp
    }
}

// === impl Proxies ===

impl Proxies {
    /// The proxy at `uri`, but for the hosts of `no_proxy`.
    pub fn one(uri: Uri, account: Option<HeaderValue>, no_proxy: &str) -> Self {
        // Means every host, as in Go; the library takes it for every name, and not for addresses.
        if no_proxy.split(',').any(|host| host.trim() == "*") {
            return Self::None;
        }
        // Only the exceptions are the library's, so that no URL that it does not understand means no proxy.
        Self::One { account, matcher: Matcher::builder().all("http://proxy").no(no_proxy).build(), uri }
    }

    /// The proxy for `target` and its account.
    fn of(&self, target: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
        match self {
            Self::None => None,
            Self::Environment(matcher) => {
                let proxy = matcher.intercept(target)?;
                Some((proxy.uri().clone(), proxy.basic_auth().cloned()))
            }
            Self::One { account, matcher, uri } => matcher.intercept(target).map(|_| (uri.clone(), account.clone())),
        }
    }
}

// === impl Way ===

impl Way {
    /// A way without sessions yet.
    pub fn new(connector: Arc<Connector>) -> Self {
        let tls = connector.tls.clone().map(|mut config| {
            config.resumption =
                Resumption::in_memory_sessions(SESSIONS).tls12_resumption(Tls12Resumption::SessionIdOrTickets);
            TlsConnector::from(Arc::new(config))
        });
        Self { connector, tls }
    }

    /// Whether this is how `connector` connects.
    pub fn is_of(&self, connector: &Arc<Connector>) -> bool {
        Arc::ptr_eq(&self.connector, connector)
    }

    /// Connects to the host and port of `target`, for the scheme that the connector is for.
    ///
    /// # Errors
    ///
    /// When there is no connection in time.
    pub async fn connect(&self, target: &Uri) -> Result<Connection, ConnectError> {
        timeout(self.connector.limit, self.open(target)).await.unwrap_or(Err(ConnectError::TooSlow))
    }

    async fn open(&self, target: &Uri) -> Result<Connection, ConnectError> {
        if self.tls.is_none() && target.scheme_str() != Some("http") {
            return Err(ConnectError::NoTls);
        }
        let stream = match self.connector.proxies.of(target) {
            None => self.tcp(target).await.map_err(ConnectError::Failed)?,
            Some((proxy, account)) => self.tunnel(&proxy, account, target).await.map_err(ConnectError::Proxy)?,
        };
        let Some(tls) = &self.tls else { return Ok(Connection { certificate: None, stream }) };
        let stream = shake(tls, target, stream).await.map_err(ConnectError::Failed)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(Connection { certificate: shown.and_then(|leaf| verify::expiry(leaf)), stream: Box::new(stream) })
    }

    async fn tcp(&self, target: &Uri) -> Result<Box<dyn Stream>, Box<dyn Error + Send + Sync>> {
        // It is always ready: it has no queue.
        let stream = self.connector.tcp.clone().call(target.clone()).await?;
        Ok(Box::new(stream.into_inner()))
    }

    /// A connection to `target` that the proxy makes (RFC 9110, section 9.3.6).
    async fn tunnel(
        &self,
        proxy: &Uri,
        account: Option<HeaderValue>,
        target: &Uri,
    ) -> Result<Box<dyn Stream>, ProxyError> {
        let mut stream = match proxy.scheme_str() {
            Some("http" | "https") => self.tcp(proxy).await.map_err(ProxyError::Unreachable)?,
            _ => return Err(ProxyError::Kind),
        };
        if let (Some("https"), Some(tls)) = (proxy.scheme_str(), &self.tls) {
            stream = Box::new(shake(tls, proxy, stream).await.map_err(ProxyError::Unreachable)?);
        }
        let place = format!("{}:{}", target.host().unwrap_or_default(), target.port_u16().unwrap_or(443));
        let mut request = Request::builder().method(Method::CONNECT).uri(&place).header(HOST, &place);
        if let Some(account) = account {
            request = request.header(PROXY_AUTHORIZATION, account);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| ProxyError::Ended)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| ProxyError::Ended)?;
        let answer = async move {
            match sender.send_request(request).await {
                Ok(answer) if answer.status().is_success() => Ok(((), true)),
                Ok(answer) => Err(ProxyError::Refused(answer.status())),
                Err(_) => Err(ProxyError::Ended),
            }
        };
        let ((), stream) = exchange::drive(connection, answer).await?;
        stream.ok_or(ProxyError::Ended)
    }
}

async fn shake(
    tls: &TlsConnector,
    target: &Uri,
    stream: Box<dyn Stream>,
) -> Result<tokio_rustls::client::TlsStream<Box<dyn Stream>>, Box<dyn Error + Send + Sync>> {
    let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    Ok(tls.connect(ServerName::try_from(host.to_owned())?, stream).await?)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}
