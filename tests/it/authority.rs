//! A certificate authority.

use std::time::{Duration, SystemTime};

use qumulo_simulator::ClusterSpec;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// An authority that signs itself, changed.
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name, change), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority that this one signs, changed.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = authority(name, change);
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// A certificate that is not a CA's, whose owner signs others all the same.
    pub fn without_right(name: &str) -> Self {
        Self::with(name, |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.subject_alt_names = leaf(name, [2000, 2100]).subject_alt_names;
        })
    }

    /// Its certificate and key, for a server or a client.
    pub fn issued(&self) -> Issued {
        Issued { certificate: self.pem(), key: self.0.key().serialize_pem() }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, valid from and to the beginning of these years.
    pub fn issue(&self, name: &str, years: [i32; 2]) -> Issued {
        self.issue_with(name, years, |_| {})
    }

    /// The same, changed.
    pub fn issue_with(&self, name: &str, years: [i32; 2], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (key, mut params) = (KeyPair::generate().unwrap(), leaf(name, years));
        change(&mut params);
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Authority {
    /// A certificate that expires this much from now.
    pub fn issue_for(&self, name: &str, time: Duration) -> Issued {
        let (key, mut params) = (KeyPair::generate().unwrap(), leaf(name, [2000, 2001]));
        params.not_after = date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().unwrap() + time;
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    /// A certificate that is its own authority.
    pub fn self_signed(name: &str, years: [i32; 2]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: leaf(name, years).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A certificate without subjectAltName, as old guides make them.
    pub fn nameless() -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params("cluster.example.com").self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// With the certificate of the authority between it and the trusted one.
    pub fn through(mut self, intermediate: &Authority) -> Self {
        self.certificate += &intermediate.pem();
        self
    }

    /// Makes it the certificate of a cluster.
    pub fn install(&self, spec: &mut ClusterSpec) {
        spec.certificate_pem = Some(self.certificate.clone());
        spec.key_pem = Some(self.key.clone());
    }
}

/// An extension marked as critical, without content.
pub fn critical(id: &[u64]) -> Vec<CustomExtension> {
    let mut extension = CustomExtension::from_oid_content(id, vec![0x30, 0]);
    extension.set_criticality(true);
    vec![extension]
}

/// A DNS name whatever it holds.
pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    params
}

fn leaf(name: &str, [from, to]: [i32; 2]) -> CertificateParams {
    let mut params = params("Test leaf");
    params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
