package protocol

// Enroll is the body of POST /v1/enroll: a host trades a one-off code for its
// own credential.
type Enroll struct {
	Token string  `json:"token"`
	Store StoreID `json:"store"`
	Agent AgentID `json:"agent"`
}

// Enrolled answers it.
type Enrolled struct {
	Store  StoreID `json:"store"`
	Agent  AgentID `json:"agent"`
	Token  string  `json:"token"`  // link.token
	Broker string  `json:"broker"` // link.broker
	Update *Update `json:"update,omitempty"`
}

// Update tells a host whose releases it is to run.
type Update struct {
	Keys        []string `json:"keys"`      // update.keys
	Threshold   int      `json:"threshold"` // update.threshold
	KeysVersion uint64   `json:"keys_version"`
}
