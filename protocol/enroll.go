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
}
