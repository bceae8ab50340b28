package protocol

import "time"

// Identity is who may speak as an agent, as GET /v1/identities lists it.
type Identity struct {
	Store      StoreID    `json:"store"`
	Agent      AgentID    `json:"agent"`
	Kind       string     `json:"kind"`   // certificate or token
	Status     string     `json:"status"` // active, expiring, expired, revoked
	Serial     string     `json:"serial,omitempty"`
	KeySHA256  string     `json:"key_sha256,omitempty"`
	EnrolledAt *time.Time `json:"enrolled_at,omitempty"`
	IssuedAt   *time.Time `json:"issued_at,omitempty"`
	NotAfter   *time.Time `json:"not_after,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	RevokedBy  string     `json:"revoked_by,omitempty"`
	Reason     string     `json:"reason,omitempty"`
}

// Renew asks for the certificate that is to follow the one in use (topic up/renew).
// The session that carries it has proved who asks.
type Renew struct {
	V   int    `json:"v"`
	CSR string `json:"csr"` // PEM; of a fresh key
}

// Renewed answers it (topic dn/renewed). Refused says why there is none.
type Renewed struct {
	V           int    `json:"v"`
	Certificate string `json:"certificate,omitempty"` // PEM, with those between it and the root
	CA          string `json:"ca,omitempty"`          // PEM roots to pin from now on
	Refused     string `json:"refused,omitempty"`
}

// APIKey is a key that was issued, as GET /v1/keys lists it. The key itself is shown
// once, when it is made, and kept nowhere.
type APIKey struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Status    string     `json:"status"` // active, expired, revoked
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	SHA256    string     `json:"sha256"`
}
