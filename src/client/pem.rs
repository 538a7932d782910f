//! The certificate files of a cluster's connections.

use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{settings::ClientCertificate, transport::TransportError, words};
use crate::file::{self, FileError, Named};

/// The authorities in a file, and the certificates that they are.
///
/// # Errors
///
/// When the file cannot be used.
pub fn authorities(file: &Named) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TransportError> {
    let certificates = pem_certificates("ca_file", file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|_| {
            let problem = "holds a certificate that cannot be parsed, or is of an X.509 version before 3".to_owned();
            TransportError::File { key: "ca_file", path: file.shown(), problem }
        })?;
    }
    Ok((roots, certificates))
}

/// A certificate with its chain, and its key.
///
/// # Errors
///
/// When one of the files cannot be used.
pub fn client_certificate(
    files: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TransportError> {
    let chain = pem_certificates("cert_file", &files.cert_file)?;
    let unusable = |problem: &str| TransportError::File {
        key: "key_file",
        path: files.key_file.shown(),
        problem: problem.to_owned(),
    };
    let bytes = file::read(files.key_file.path(), file::MAX_PEM).map_err(|err| unusable(&after_name(&err)))?.bytes;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|err| {
        if String::from_utf8_lossy(&bytes).contains("ENCRYPTED") {
            return unusable("is encrypted with a passphrase; write the key without one (openssl pkey -in … -out …)");
        }
        unusable(&format!("is not a private key in PEM form: it {}", words::pem(&err)))
    })?;
    Ok((chain, key))
}

/// Why a client certificate and its key cannot be used together.
pub fn unfit(files: &ClientCertificate, err: &rustls::Error) -> TransportError {
    let file = |key, file: &Named, problem: &str| TransportError::File {
        key,
        path: file.shown(),
        problem: problem.to_owned(),
    };
    match err {
        rustls::Error::InconsistentKeys(_) => {
            file("key_file", &files.key_file, "does not belong to the certificate in cert_file")
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::BadEncoding) => file(
            "cert_file",
            &files.cert_file,
            "holds a certificate that cannot be used: it cannot be parsed, or is of an X.509 version before 3",
        ),
        _ => {
            file("key_file", &files.key_file, "holds a key of a kind that is not supported; use RSA, ECDSA or Ed25519")
        }
    }
}

fn pem_certificates(key: &'static str, file: &Named) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let problem = |problem: String| TransportError::File { key, path: file.shown(), problem };
    let bytes = file::read(file.path(), file::MAX_PEM).map_err(|err| problem(after_name(&err)))?.bytes;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|err| problem(words::pem(&err).to_owned()))?;
    if certificates.is_empty() {
        return Err(problem("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(certificates)
}

/// Two kinds of error are no predicate of the file's name.
fn after_name(err: &FileError) -> String {
    match err {
        FileError::Missing => "does not exist".to_owned(),
        FileError::Denied => format!("cannot be read: {err}"),
        _ => err.to_string(),
    }
}
