//! The files of `tls_config`.

use super::{settings::ClientCertificate, transport::TransportError};
use crate::{
    file::{self, ConfiguredPath, FileError},
    trust::pem::PemError,
};

/// Why rustls cannot use a client certificate with its key.
pub fn client_cert_error(
    ClientCertificate { cert_file, key_file }: &ClientCertificate,
    err: &rustls::Error,
) -> TransportError {
    match err {
        rustls::Error::InconsistentKeys(_) => {
            error("key_file", key_file, "does not belong to the certificate in cert_file")
        }
        rustls::Error::InvalidCertificate(_) => {
            error("cert_file", cert_file, "has a first certificate that cannot be parsed")
        }
        _ => error(
            "key_file",
            key_file,
            "has a key whose type or size is not supported; use RSA (2048 bits or more), ECDSA or Ed25519",
        ),
    }
}

/// # Errors
///
/// When the file cannot be used.
pub fn read<T>(
    key: &'static str,
    file: &ConfiguredPath,
    parse: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, TransportError> {
    // The texts of these two do not continue a sentence that begins with the path.
    let content = file::read(file.path(), file::MAX_PEM).map_err(|err| match err {
        FileError::Missing => error(key, file, "does not exist"),
        FileError::Denied => error(key, file, &format!("cannot be read: {err}")),
        _ => error(key, file, &err.to_string()),
    })?;
    parse(&content.bytes).map_err(|err| error(key, file, &err.to_string()))
}

fn error(key: &'static str, file: &ConfiguredPath, problem: &str) -> TransportError {
    TransportError(format!("tls_config.{key}: {} {problem}", file.redacted()))
}
