//! PEM files with certificates and keys. A block that cannot be used is an error with its line, not skipped.

use std::fmt;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};
use zeroize::Zeroizing;

use super::{Certificate, Problem, TrustStore};

/// Why a file cannot be used: the rest of a sentence that begins with its name. Contains nothing of the file but the labels of
/// its blocks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PemError {
    #[error("is encrypted with a passphrase; store the key without one (openssl pkey -in ENCRYPTED -out KEY)")]
    Encrypted,
    #[error("cannot be used: line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("contains no {0}")]
    None(&'static str),
}

struct Block<'a> {
    body: &'a [u8],
    label: &'a str,
    line: usize,
}

enum Kind {
    Certificate,
    /// Written by `openssl ecparam` before a key, which contains them, too; or of key exchanges that are not used.
    Parameters,
    PrivateKey,
}

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";

/// The certificates of a CA file.
///
/// # Errors
///
/// When there is none, or one of them cannot be used.
pub fn trust_store(pem: &[u8]) -> Result<TrustStore, PemError> {
    let (lines, certificates): (Vec<_>, Vec<_>) = certificates(pem)?.into_iter().unzip();
    TrustStore::new(certificates).map_err(|(index, problem)| {
        let line = lines.get(index).copied().unwrap_or_default();
        unusable(line, &problem, "remove it")
    })
}

/// A certificate and its intermediates, leaf first.
///
/// # Errors
///
/// When there is none, or one of them cannot be used.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = certificates(pem)?;
    for (index, (line, der)) in certificates.iter().enumerate() {
        let problem = match Certificate::parse(der) {
            None => Err(Problem::Unparsable),
            Some(certificate) if certificate.version() != 3 => Err(Problem::Version(certificate.version())),
            // rustls refuses such a leaf.
            Some(certificate) if index == 0 => certificate.check_extensions(false),
            Some(_) => Ok(()),
        };
        problem.map_err(|problem| unusable(*line, &problem, "reissue it"))?;
    }
    Ok(certificates.into_iter().map(|(_, der)| der).collect())
}

/// # Errors
///
/// When there is none, or more than one, or it is encrypted.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut key = None;
    for block in blocks(pem)? {
        match block.kind()? {
            Kind::PrivateKey if block.is_encrypted() => return Err(PemError::Encrypted),
            Kind::PrivateKey if key.is_some() => return Err(error(block.line, "a second private key; remove one")),
            Kind::PrivateKey => {
                let (kind, der) = block.decode(block.label)?;
                key = PrivateKeyDer::from_pem(kind, der);
            }
            Kind::Certificate | Kind::Parameters => {}
        }
    }
    key.ok_or(PemError::None("private key in PEM form"))
}

/// The certificates with their lines. The file may also contain private keys.
fn certificates(pem: &[u8]) -> Result<Vec<(usize, CertificateDer<'static>)>, PemError> {
    let mut certificates = Vec::new();
    for block in blocks(pem)? {
        if let Kind::Certificate = block.kind()? {
            let (_, der) = block.decode("CERTIFICATE")?;
            certificates.push((block.line, der.into()));
        }
    }
    match (certificates.is_empty(), pem.first_chunk()) {
        (false, _) => Ok(certificates),
        (true, Some([0xff, 0xfe] | [0xfe, 0xff])) => {
            Err(PemError::None("certificate in UTF-8: the file is UTF-16; save it as UTF-8"))
        }
        (true, Some([0x30, 0x80..=0xff])) => Err(PemError::None(
            "certificate in PEM form: the file is binary; convert it with `openssl x509 -inform der -in FILE -out NEW`",
        )),
        (true, _) => Err(PemError::None("certificate in PEM form (-----BEGIN CERTIFICATE-----)")),
    }
}

/// Splits a text at its BEGIN and END marks, which need not be at the beginning of a line: files may be joined without a line
/// break or have byte order marks or indented blocks. In lines that begin with `#` they do not count.
fn blocks(pem: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let feed = if pem.contains(&b'\n') { b'\n' } else { b'\r' };
    let (mut at, mut line, mut line_start) = (0, 1, 0);
    let (mut blocks, mut open) = (Vec::new(), None);
    while let Some(rest @ [byte, ..]) = pem.get(at..) {
        let mark = [BEGIN, END].into_iter().find(|mark| rest.starts_with(mark));
        let before = || pem.get(line_start..at).unwrap_or_default();
        let Some(mark) = mark.filter(|_| !before().trim_ascii_start().starts_with(b"#")) else {
            at += 1;
            if *byte == feed {
                (line, line_start) = (line + 1, at);
            }
            continue;
        };
        let (label, length) = label_of(rest.get(mark.len()..).unwrap_or_default())
            .ok_or_else(|| error(line, "this -----BEGIN or -----END has no closing -----"))?;
        let start = at;
        at += mark.len() + length;
        open = match open {
            None if mark == BEGIN => Some((label, line, at)),
            None => return Err(error(line, "there is no -----BEGIN before this -----END")),
            Some((own, line, body)) if mark == END && own == label => {
                blocks.push(Block { body: pem.get(body..start).unwrap_or_default(), label, line });
                None
            }
            Some((_, line, _)) => return Err(truncated(line)),
        };
    }
    open.map_or(Ok(blocks), |(_, line, _)| Err(truncated(line)))
}

/// Parses ` LABEL-----`; returns the label and the length.
fn label_of(text: &[u8]) -> Option<(&str, usize)> {
    let end = text.windows(DASHES.len()).take(64).position(|window| window == DASHES)?;
    let label = std::str::from_utf8(text.get(..end)?).ok()?.strip_prefix(' ')?;
    let plain = label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    plain.then_some((label, end + DASHES.len()))
}

fn error(line: usize, problem: impl Into<String>) -> PemError {
    PemError::Line { line, problem: problem.into() }
}

fn truncated(line: usize) -> PemError {
    error(line, "the block that begins here has no -----END; is the file truncated?")
}

fn unusable(line: usize, problem: &Problem, advice: &str) -> PemError {
    error(line, format!("the certificate {problem}; {advice}"))
}

// === impl Block ===

impl Block<'_> {
    /// Lets the library decode it, without white space.
    fn decode(&self, label: &str) -> Result<(SectionKind, Vec<u8>), PemError> {
        let mut block = Zeroizing::new(Vec::with_capacity(self.body.len() + 128));
        block.extend(format!("-----BEGIN {label}-----\n").bytes());
        block.extend(self.body.iter().filter(|byte| !byte.is_ascii_whitespace()));
        block.extend(format!("\n-----END {label}-----\n").bytes());
        <(SectionKind, Vec<u8>)>::from_pem_slice(&block)
            .map_err(|_| error(self.line, "the block that begins here is not base64"))
    }

    fn is_encrypted(&self) -> bool {
        // Before PKCS#8, OpenSSL wrote a header about it (RFC 1421).
        self.label.starts_with("ENCRYPTED") || self.body.windows(9).any(|window| window == b"ENCRYPTED")
    }

    fn kind(&self) -> Result<Kind, PemError> {
        let advice = match self.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => return Ok(Kind::Certificate),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                return Ok(Kind::PrivateKey);
            }
            "DH PARAMETERS" | "EC PARAMETERS" => return Ok(Kind::Parameters),
            "TRUSTED CERTIFICATE" => "convert it with `openssl x509 -in FILE -out NEW`",
            "PKCS7" => "convert it with `openssl pkcs7 -print_certs -in FILE -out NEW`",
            "OPENSSH PRIVATE KEY" => "convert it with `ssh-keygen -p -m pem -f FILE`",
            "X509 CRL" => "revocation is not checked, remove it",
            _ => "remove it",
        };
        Err(error(self.line, format!("{} blocks are not supported; {advice}", self.label)))
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("label", &self.label).field("line", &self.line).finish_non_exhaustive()
    }
}
