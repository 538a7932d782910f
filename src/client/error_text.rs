//! Errors of the system and of the libraries in words of our own: no numbers without a name, no Debug output, nothing that
//! a library could put into a text.

use std::io;

use rustls::{AlertDescription as Alert, CertificateError, Error, InconsistentKeys};

/// What the exporter speaks, for those whose server speaks something else.
pub const SPOKEN: &str =
    "the exporter speaks TLS 1.3, and TLS 1.2 with ECDHE key exchange and AES-GCM or ChaCha20-Poly1305";

/// Why a connection could not be made, or broke.
pub fn io(err: &io::Error) -> String {
    let words = match err.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens on this port",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "it was reset",
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => "the other side closed it",
        io::ErrorKind::UnexpectedEof => "it ended before the answer did",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no route to it",
        io::ErrorKind::NetworkDown => "the network is down",
        io::ErrorKind::TimedOut => "the network gave no answer",
        io::ErrorKind::PermissionDenied => "this machine's firewall or sandbox forbids it",
        io::ErrorKind::AddrNotAvailable => "this machine has no address or no port left for it",
        io::ErrorKind::InvalidInput => "its address cannot be connected to",
        _ if matches!(err.raw_os_error(), Some(23 | 24)) => "too many files are open; raise the limit (LimitNOFILE=)",
        _ if err.raw_os_error() == Some(97) => "this machine does not support its kind of address (IPv4 or IPv6)",
        _ => "",
    };
    match (words, err.raw_os_error()) {
        ("", Some(number)) => format!("the system reports error number {number}"),
        ("", None) => "it ended unexpectedly".to_owned(),
        _ => words.to_owned(),
    }
}

/// Why TLS failed, perhaps after the server asked for a client certificate. Refusals that have a text of ours are not for here.
pub fn tls(err: &Error, client_cert_requested: bool) -> String {
    match err {
        Error::InvalidMessage(_) => {
            "what answers there does not speak TLS on this port; compare the port in url with the one of the REST API"
                .into()
        }
        Error::AlertReceived(Alert::HandshakeFailure) if client_cert_requested => {
            "it demands a client certificate, or does not accept the one in cert_file; see tls_config.cert_file and key_file \
             (alert handshake_failure)"
                .into()
        }
        Error::AlertReceived(alert) => self::alert(*alert),
        Error::PeerIncompatible(_) => format!("the two sides have no version or cipher suite in common; {SPOKEN}"),
        Error::InvalidCertificate(problem) => format!("its certificate {}", certificate(problem)),
        Error::FailedToGetCurrentTime => "the clock of the exporter's host is before 1970; set it".into(),
        Error::NoCertificatesPresented => "it shows no certificate".into(),
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "it breaks the rules of TLS; is there a device in between that takes part in it?".into()
        }
        Error::DecryptError | Error::PeerSentOversizedRecord => {
            "what it sends cannot be decrypted; is there a device in between that changes it?".into()
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key belongs to another certificate".into(),
        _ => "the TLS library gives no reason that has a name; please report this".into(),
    }
}

/// What the other side's alert means (RFC 8446, section 6.2), with its standard name.
fn alert(alert: Alert) -> String {
    let (name, words) = match alert {
        Alert::HandshakeFailure => (
            "handshake_failure",
            "it has no cipher suite or kind of key in common with the exporter (keys of RSA-PSS, Ed448 and brainpool curves \
             are not supported); ",
        ),
        Alert::InsufficientSecurity => ("insufficient_security", "it knows no cipher suite in common; "),
        Alert::ProtocolVersion => ("protocol_version", "it knows no version of TLS in common (see min_version); "),
        Alert::CertificateRequired => {
            ("certificate_required", "it wants a client certificate; set tls_config.cert_file and key_file")
        }
        Alert::UnknownCA => ("unknown_ca", "it does not know the authority of the client certificate in cert_file"),
        Alert::CertificateExpired => {
            ("certificate_expired", "the client certificate in cert_file has expired; renew it")
        }
        Alert::CertificateRevoked => ("certificate_revoked", "the client certificate in cert_file is revoked"),
        Alert::BadCertificate => ("bad_certificate", "it does not accept the client certificate in cert_file"),
        Alert::UnsupportedCertificate => {
            ("unsupported_certificate", "it does not accept the client certificate in cert_file")
        }
        Alert::CertificateUnknown => ("certificate_unknown", "it does not accept the client certificate in cert_file"),
        Alert::AccessDenied => ("access_denied", "it does not let the client certificate in"),
        Alert::UnrecognisedName => ("unrecognized_name", "it serves no host of this name; see server_name"),
        Alert::InternalError => ("internal_error", "it has an error of its own; look at its log"),
        other => return format!("it ended the handshake with the alert number {}", u8::from(other)),
    };
    let spoken = if words.ends_with("; ") { SPOKEN } else { "" };
    format!("{words}{spoken} (alert {name})")
}

/// What is wrong with a certificate: the end of a sentence about it.
pub fn certificate(problem: &CertificateError) -> &'static str {
    use CertificateError as Problem;
    match problem {
        Problem::BadEncoding => "cannot be parsed",
        Problem::Expired | Problem::ExpiredContext { .. } => "has expired",
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => "is not valid yet; compare the clocks",
        Problem::Revoked => "is revoked",
        Problem::UnhandledCriticalExtension => "has an extension marked as critical that the exporter does not know",
        Problem::UnknownIssuer => "is not signed by a trusted authority",
        Problem::BadSignature => "has a signature that is wrong",
        Problem::UnsupportedSignatureAlgorithmContext { .. }
        | Problem::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "or one of its chain is signed in a way that is not supported, such as SHA-1 or RSA below 2048 bits"
        }
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => "is for another name",
        Problem::InvalidPurpose | Problem::InvalidPurposeContext { .. } => {
            "is not made for this purpose (its extended key usage lacks it)"
        }
        _ => "or its chain breaks a rule for certificates, such as a key below 2048 bits (RSA) or a name constraint",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{CertRevocationListError, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    /// What a text for users never holds: names of Rust's types, numbers without a name, addresses of documentation.
    #[track_caller]
    fn check(text: &str) {
        let words = text.split([' ', ';', ':', ',', '(', ')']);
        let known = ["ECDHE", "AES-GCM", "ChaCha20-Poly1305", "IPv4", "IPv6", "LimitNOFILE=", "-----BEGIN", "-----END"];
        for word in words.filter(|word| !known.contains(word)) {
            let inner =
                word.chars().skip(1).any(|c| c.is_ascii_uppercase()) && word.chars().any(|c| c.is_ascii_lowercase());
            assert!(!inner && !word.contains("://") && !word.contains("::"), "{word:?} in {text:?}");
        }
        assert!(!text.is_empty() && !text.contains('{') && !text.contains('['), "{text:?}");
    }

    #[test]
    fn every_failure_has_words() {
        let refused = Error::AlertReceived(Alert::HandshakeFailure);
        assert!(tls(&refused, true).contains("demands a client certificate"));
        assert!(tls(&refused, false).contains("no cipher suite or kind of key in common"));
        for number in 0..=u8::MAX {
            check(&tls(&Error::AlertReceived(Alert::from(number)), number % 2 == 0));
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
            check(&tls(&err, false));
        }
        for number in 1..134 {
            check(&io(&io::Error::from_raw_os_error(number)));
        }
        check(&io(&io::Error::other("libraryText")));
    }
}
