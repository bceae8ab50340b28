package protocol

// Enroll is the body of POST /v1/enroll: a host trades a one-off code for its
// own credential.
type Enroll struct {
	Token string  `json:"token"`
	Store StoreID `json:"store"`
	Agent AgentID `json:"agent"`
	CSR   string  `json:"csr,omitempty"` // PEM request of a key made on the host
}

// Enrolled answers it.
type Enrolled struct {
	Store  StoreID `json:"store"`
	Agent  AgentID `json:"agent"`
	Token  string  `json:"token,omitempty"` // link.token, where the chain works without certificates
	Broker string  `json:"broker"`          // link.broker
	Update *Update `json:"update,omitempty"`

	Certificate string `json:"certificate,omitempty"` // PEM: link.cert_file
	CA          string `json:"ca,omitempty"`          // PEM: link.ca_file
}

// Update tells a host whose releases it is to run.
type Update struct {
	Keys        []string `json:"keys"`      // update.keys
	Threshold   int      `json:"threshold"` // update.threshold
	KeysVersion uint64   `json:"keys_version"`
}
