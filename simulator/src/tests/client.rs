//! An HTTPS client that shows every byte that it sends and receives.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::SimCluster;

/// One connection.
pub struct Client {
    stream: TlsStream<TcpStream>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<String>,
}

/// One response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Client {
    /// Trusts only the current certificate of the cluster.
    pub async fn connect(cluster: &SimCluster) -> io::Result<Client> {
        Client::connect_with(cluster, &[&rustls::version::TLS13], None).await
    }

    /// Connects with these TLS versions and, if given, a client certificate and key in PEM.
    pub async fn connect_with(
        cluster: &SimCluster,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(&str, &str)>,
    ) -> io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&cluster.certificate_pem())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some((pem, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate(pem)], key).unwrap()
            }
        };
        let stream = TcpStream::connect(cluster.addr()).await?;
        let name = ServerName::from(cluster.addr().ip());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Client { stream, bearer: None })
    }

    /// A GET as the SDK sends it, with a `Content-Length` of 0.
    pub async fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send("GET", path, "").await
    }

    /// Sends a request, and reads the whole response.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        self.request(method, path, body).await?;
        self.reply().await
    }

    /// Sends a request and does not wait for the response.
    pub async fn request(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        let bearer = self.bearer.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
            body.len(),
            bearer.unwrap_or_default(),
        );
        self.stream.write_all(request.as_bytes()).await
    }

    /// Logs in, and uses the session for the next requests.
    pub async fn log_in(&mut self, username: &str, password: &str) -> Reply {
        let body = format!(r#"{{"username": "{username}", "password": "{password}"}}"#);
        let reply = self.send("POST", "/v1/session/login", &body).await.unwrap();
        if reply.status == 200 {
            self.bearer = Some(reply.json()["bearer_token"].as_str().unwrap().to_owned());
        }
        reply
    }

    /// Waits until the cluster closes or resets the connection.
    pub async fn closed(&mut self) -> ErrorKind {
        match self.stream.read_u8().await {
            Ok(byte) => panic!("got a byte, {byte:#x}"),
            Err(error) => error.kind(),
        }
    }

    /// Reads the whole response to the last request.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let head = self.until("\r\n\r\n").await?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = header(&head, "Content-Length").map(|length| length.parse().unwrap());
        let body = match length {
            None if [204, 304].contains(&status) => String::new(),
            None => self.until("0\r\n\r\n").await?,
            Some(length) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).await?;
                String::from_utf8(body).unwrap()
            }
        };
        Ok(Reply { status, head, body })
    }

    /// Reads until `text` holds `end`.
    async fn until(&mut self, end: &str) -> io::Result<String> {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push(char::from(self.stream.read_u8().await?));
        }
        Ok(text)
    }
}

impl Reply {
    /// The value of a header. The name is case-sensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
