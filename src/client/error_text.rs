//! Texts for errors of the system and of rustls: without numbers, Debug output and texts of the libraries where that is
//! possible. Each is what follows the peer's name and a colon.

use std::io;

use rustls::{AlertDescription as Alert, Error};

pub const NOTHING_IN_COMMON: &str = "no TLS version, cipher suite or key type in common; the exporter supports TLS 1.3, and \
                                     TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305";

/// Why a connection could not be made, or broke.
pub fn io(err: &io::Error) -> String {
    let text = match err.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens on this port",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "connection reset",
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => "closed by the other side",
        io::ErrorKind::UnexpectedEof => CLOSED_EARLY,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to the host",
        io::ErrorKind::NetworkDown => "the network is down",
        io::ErrorKind::TimedOut => "no response from the network",
        io::ErrorKind::PermissionDenied => "blocked by a firewall or sandbox on this host",
        io::ErrorKind::AddrNotAvailable => "this host has no address or free port for it",
        io::ErrorKind::InvalidInput => "not an address that can be connected to",
        _ if matches!(err.raw_os_error(), Some(23 | 24)) => "too many open files; raise the limit (LimitNOFILE=)",
        _ if err.raw_os_error() == Some(97) => "this host does not support this kind of address (IPv4 or IPv6)",
        _ => {
            let number = err.raw_os_error();
            return number.map_or_else(|| CLOSED_EARLY.to_owned(), |number| format!("system error {number}"));
        }
    };
    text.to_owned()
}

pub const CLOSED_EARLY: &str = "closed before the response was complete";

/// The other side of a TLS connection, for the advice.
#[derive(Clone, Copy, Debug)]
pub enum TlsPeer {
    /// `url` and `tls_config` apply.
    Cluster { client_cert_requested: bool },
    /// They do not, and it gets no client certificate.
    Other,
}

/// Why TLS failed, unless it is a [`super::verify::VerifyError`].
pub fn tls(err: &Error, peer: TlsPeer) -> String {
    let text = match err {
        Error::InvalidMessage(_) => match peer {
            TlsPeer::Cluster { .. } => {
                "the server does not speak TLS on this port; compare the port in url with that of the REST API"
            }
            TlsPeer::Other => "the server does not speak TLS on this port",
        },
        Error::AlertReceived(alert) => return self::alert(*alert, peer),
        Error::PeerIncompatible(_) => NOTHING_IN_COMMON,
        Error::InvalidCertificate(_) => {
            "the server's key does not belong to its certificate, or is of a type that is not supported"
        }
        Error::FailedToGetCurrentTime => "the clock of this host is before 1970; set it",
        Error::NoCertificatesPresented => "the server sent no certificate",
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server violates the TLS protocol; does a middlebox alter the traffic?"
        }
        Error::DecryptError | Error::PeerSentOversizedRecord => {
            "received data cannot be decrypted; does a middlebox alter the traffic?"
        }
        _ => "unexpected TLS error; please report it",
    };
    text.to_owned()
}

/// The server's alert (RFC 8446, section 6.2), with its standard name and number.
fn alert(alert: Alert, peer: TlsPeer) -> String {
    let text = match (alert, peer) {
        // TLS 1.2 has no other alert for a missing client certificate.
        (Alert::HandshakeFailure, TlsPeer::Cluster { client_cert_requested: true }) => {
            "the server requires a client certificate, or does not accept the one in cert_file; see tls_config.cert_file and \
             key_file"
        }
        (Alert::HandshakeFailure, TlsPeer::Cluster { client_cert_requested: false }) => {
            "no cipher suite or key type in common (RSA-PSS, Ed448 and brainpool keys are not supported)"
        }
        (Alert::HandshakeFailure, TlsPeer::Other) => {
            "no cipher suite or key type in common, or the server requires a client certificate, which the exporter does not \
             send to it"
        }
        (Alert::ProtocolVersion, _) => {
            "no TLS version in common; the exporter supports TLS 1.3, and TLS 1.2 unless min_version excludes it"
        }
        (Alert::InsufficientSecurity, _) => NOTHING_IN_COMMON,
        (
            Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::AccessDenied,
            TlsPeer::Other,
        ) => "the server requires a client certificate, which the exporter does not send to it",
        (Alert::CertificateRequired, _) => {
            "the server requires a client certificate; set tls_config.cert_file and key_file"
        }
        (Alert::UnknownCA, _) => "the server does not trust the CA of the client certificate in cert_file",
        (Alert::CertificateExpired, _) => "the client certificate in cert_file has expired; renew it",
        (Alert::CertificateRevoked, _) => "the client certificate in cert_file is revoked",
        (
            Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown | Alert::AccessDenied,
            _,
        ) => "the server rejected the client certificate in cert_file",
        (Alert::UnrecognisedName, _) => "the server has no host of this name",
        (Alert::InternalError, _) => "internal error of the server; see its log",
        _ => "the server ended the handshake",
    };
    match alert.as_str() {
        Some(name) => format!("{text} (TLS alert {}, {})", snake_case(name), u8::from(alert)),
        None => format!("{text} (TLS alert {})", u8::from(alert)),
    }
}

/// The RFC's spelling of rustls' name of an alert.
fn snake_case(name: &str) -> String {
    let (mut snake, mut after_lowercase) = (String::new(), false);
    for letter in name.replace("Unrecognised", "Unrecognized").chars() {
        if letter.is_ascii_uppercase() && after_lowercase {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        after_lowercase = letter.is_ascii_lowercase();
    }
    snake
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        CertRevocationListError, CertificateError, InconsistentKeys, InvalidMessage, OtherError, PeerIncompatible,
        PeerMisbehaved,
    };

    use super::*;

    const PEERS: [TlsPeer; 3] = [
        TlsPeer::Cluster { client_cert_requested: false },
        TlsPeer::Cluster { client_cert_requested: true },
        TlsPeer::Other,
    ];

    #[test]
    fn alerts_have_their_standard_name_and_number() {
        for (alert, expect) in [
            (Alert::HandshakeFailure, "(TLS alert handshake_failure, 40)"),
            (Alert::UnknownCA, "(TLS alert unknown_ca, 48)"),
            (Alert::UnrecognisedName, "(TLS alert unrecognized_name, 112)"),
            (Alert::ProtocolVersion, "(TLS alert protocol_version, 70)"),
            (Alert::Unknown(200), "(TLS alert 200)"),
        ] {
            for peer in PEERS {
                let text = tls(&Error::AlertReceived(alert), peer);
                assert!(text.ends_with(expect), "{text}");
            }
        }
    }

    #[test]
    fn settings_without_effect_are_not_named() {
        for number in 0..=u8::MAX {
            let text = tls(&Error::AlertReceived(Alert::from(number)), TlsPeer::Other);
            assert!(!text.contains("tls_config") && !text.contains("_file") && !text.contains("server_name"), "{text}");
        }
        let text = tls(&Error::InvalidMessage(InvalidMessage::InvalidContentType), TlsPeer::Other);
        assert!(!text.contains("url"), "{text}");
    }

    /// What a text for users never holds: names of Rust's types, numbers without a name, addresses of documentation.
    #[track_caller]
    fn check(text: &str) {
        let words = text.split([' ', ';', ':', ',', '(', ')']);
        let known = [
            "ECDHE",
            "Ed448",
            "AES-GCM",
            "ChaCha20-Poly1305",
            "IPv4",
            "IPv6",
            "LimitNOFILE=",
            "-----BEGIN",
            "-----END",
        ];
        for word in words.filter(|word| !known.contains(word)) {
            let inner =
                word.chars().skip(1).any(|c| c.is_ascii_uppercase()) && word.chars().any(|c| c.is_ascii_lowercase());
            assert!(!inner && !word.contains("://") && !word.contains("::"), "{word:?} in {text:?}");
        }
        assert!(!text.is_empty() && !text.contains('{') && !text.contains('['), "{text:?}");
    }

    #[test]
    fn every_failure_has_words() {
        for number in 0..=u8::MAX {
            for peer in PEERS {
                check(&tls(&Error::AlertReceived(Alert::from(number)), peer));
            }
        }
        let other = || OtherError(Arc::new(io::Error::other("libraryText(Debug)")));
        for err in [
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerMisbehaved(PeerMisbehaved::DuplicateServerHelloExtensions),
            Error::InvalidCertRevocationList(CertRevocationListError::BadSignature),
            Error::General("libraryText".to_owned()),
            Error::NoCertificatesPresented,
            Error::DecryptError,
            Error::EncryptError,
            Error::FailedToGetCurrentTime,
            Error::HandshakeNotComplete,
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch),
            Error::Other(other()),
            Error::InvalidCertificate(CertificateError::BadEncoding),
            Error::InvalidCertificate(CertificateError::InvalidPurpose),
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
            Error::InvalidCertificate(CertificateError::Other(other())),
        ] {
            check(&tls(&err, TlsPeer::Other));
        }
        for number in 1..134 {
            check(&io(&io::Error::from_raw_os_error(number)));
        }
        check(&io(&io::Error::other("libraryText")));
    }
}
