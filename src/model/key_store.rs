label_enum! {
    /// Where the master key is stored: `type` in `GET /v2/encryption/key-store/status`.
    pub enum KeyStore {
        /// On the nodes' boot drives.
        Local = "local",
        /// In an external key management server.
        Kms = "kms",
        /// `type` is missing, not a string, or not recognised.
        Unknown = "unknown",
    }
}
