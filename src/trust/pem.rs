//! PEM files with certificates and keys. A block that cannot be used is an error with its line, not skipped.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, general_purpose::PAD},
};
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

/// As lenient as OpenSSL about the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

struct Block {
    body: Zeroizing<String>,
    label: String,
    line: usize,
}

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
        let checked = Certificate::parse_v3(der).and_then(|certificate| match index {
            // rustls refuses such a leaf.
            0 => certificate.check_extensions(false),
            _ => Ok(()),
        });
        checked.map_err(|problem| unusable(*line, &problem, "reissue it"))?;
    }
    Ok(certificates.into_iter().map(|(_, der)| der).collect())
}

/// # Errors
///
/// When there is none, or more than one, or it is encrypted.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut key = None;
    for block in blocks(pem)?.into_iter().filter(|block| block.label.ends_with("PRIVATE KEY")) {
        // Before PKCS#8, OpenSSL wrote a header about it (RFC 1421).
        if block.label.starts_with("ENCRYPTED") || block.body.contains("ENCRYPTED") {
            return Err(PemError::Encrypted);
        }
        if key.is_some() {
            return Err(error(block.line, "a second private key; remove one"));
        }
        let kind = SectionKind::try_from(block.label.as_bytes());
        let der = block.decode()?;
        key = kind.ok().and_then(|kind| PrivateKeyDer::from_pem(kind, der));
    }
    key.ok_or(PemError::None("private key in PEM form"))
}

/// The certificates with their lines. The file may also contain private keys.
fn certificates(pem: &[u8]) -> Result<Vec<(usize, CertificateDer<'static>)>, PemError> {
    let blocks = blocks(pem)?.into_iter().filter(|block| block.label.ends_with("CERTIFICATE"));
    let certificates: Vec<_> =
        blocks.map(|block| Ok((block.line, block.decode()?.into()))).collect::<Result<_, PemError>>()?;
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
/// break or have byte order marks or indented blocks. Lines that begin with `#` are comments.
fn blocks(pem: &[u8]) -> Result<Vec<Block>, PemError> {
    let text = Zeroizing::new(String::from_utf8_lossy(pem).into_owned());
    let lines = text.split(if text.contains('\n') { '\n' } else { '\r' });
    let lines = lines.map(|line| if line.trim_start().starts_with('#') { "" } else { line });
    let text = Zeroizing::new(lines.collect::<Vec<_>>().join("\n"));
    let mut pieces = text.split("-----").peekable();
    let mut line = 1 + pieces.next().unwrap_or_default().matches('\n').count();
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    while let Some(piece) = pieces.next() {
        let mark = piece.trim_start_matches('-');
        let is_begin = mark.starts_with("BEGIN");
        if is_begin || mark.starts_with("END") {
            let label = mark.strip_prefix("BEGIN ").or_else(|| mark.strip_prefix("END "));
            let is_plain = |label: &&str| label.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' '));
            let label = label.filter(is_plain).filter(|_| pieces.peek().is_some());
            let label = label.ok_or_else(|| error(line, "this -----BEGIN or -----END has no closing -----"))?;
            match open.take() {
                None if is_begin => open = Some(Block { body: Zeroizing::default(), label: label.to_owned(), line }),
                None => return Err(error(line, "there is no -----BEGIN before this -----END")),
                Some(block) if !is_begin && block.label == label => blocks.push(block.check_label()?),
                Some(block) => return Err(block.truncated()),
            }
        } else if let Some(block) = &mut open {
            // Other dashes stay, so that the block is not base64.
            if !block.body.is_empty() {
                block.body.push_str("-----");
            }
            block.body.push_str(piece);
        }
        line += piece.matches('\n').count();
    }
    open.map_or(Ok(blocks), |block| Err(block.truncated()))
}

fn error(line: usize, problem: impl Into<String>) -> PemError {
    PemError::Line { line, problem: problem.into() }
}

fn unusable(line: usize, problem: &Problem, advice: &str) -> PemError {
    error(line, format!("the certificate {problem}; {advice}"))
}

// === impl Block ===

impl Block {
    fn check_label(self) -> Result<Self, PemError> {
        let advice = match &*self.label {
            // Parameters are of key exchanges that are not used, or from `openssl ecparam`: the key contains them, too.
            "CERTIFICATE"
            | "X509 CERTIFICATE"
            | "DH PARAMETERS"
            | "EC PARAMETERS"
            | "PRIVATE KEY"
            | "RSA PRIVATE KEY"
            | "EC PRIVATE KEY"
            | "ENCRYPTED PRIVATE KEY" => return Ok(self),
            "TRUSTED CERTIFICATE" => "convert it with `openssl x509 -in FILE -out NEW`",
            "PKCS7" => "convert it with `openssl pkcs7 -print_certs -in FILE -out NEW`",
            "OPENSSH PRIVATE KEY" => "convert it with `ssh-keygen -p -m pem -f FILE`",
            "X509 CRL" => "revocation is not checked, remove it",
            _ => "remove it",
        };
        Err(error(self.line, format!("{} blocks are not supported; {advice}", self.label)))
    }

    fn decode(mut self) -> Result<Vec<u8>, PemError> {
        self.body.retain(|character| !character.is_ascii_whitespace());
        BASE64.decode(&*self.body).map_err(|_| error(self.line, "the block that begins here is not base64"))
    }

    fn truncated(&self) -> PemError {
        error(self.line, "the block that begins here has no -----END; is the file truncated?")
    }
}
