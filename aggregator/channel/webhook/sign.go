package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"

	secretPrefix = "whsec_"
)

// Sign makes the value of HeaderSignature: the MAC under each secret over id, time
// and body, so that a receiver that knows any of them believes it.
func Sign(secrets [][]byte, id string, at time.Time, body []byte) string {
	head := id + "." + strconv.FormatInt(at.Unix(), 10) + "."
	var out []string
	for _, s := range secrets {
		h := hmac.New(sha256.New, s)
		h.Write([]byte(head))
		h.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// ErrSignature tells that a message is not believed.
var ErrSignature = errors.New("signature is not accepted")

// Verify tells whether a message was signed by one of the secrets, not longer than
// tolerance ago.
func Verify(secrets [][]byte, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	id, stamp := h.Get(HeaderID), h.Get(HeaderTimestamp)
	s, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || err != nil {
		return fmt.Errorf("%w: %s or %s is missing or malformed", ErrSignature, HeaderID, HeaderTimestamp)
	}
	at := time.Unix(s, 0)
	if d := now.Sub(at); d > tolerance || d < -tolerance {
		return fmt.Errorf("%w: it was signed %s away from now, more than %s", ErrSignature, d.Round(time.Second), tolerance)
	}
	for sig := range strings.FieldsSeq(h.Get(HeaderSignature)) {
		for _, secret := range secrets {
			if hmac.Equal([]byte(sig), []byte(Sign([][]byte{secret}, id, at, body))) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: no secret of ours made %s", ErrSignature, HeaderSignature)
}

// EncodeSecret is a secret as people and libraries pass it on.
func EncodeSecret(b []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(b) }

// DecodeSecret reads it back.
func DecodeSecret(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, secretPrefix))
	if err != nil || len(b) < 24 || len(b) > 64 {
		return nil, errors.New("a secret is whsec_ and base64 of 24 to 64 bytes")
	}
	return b, nil
}
