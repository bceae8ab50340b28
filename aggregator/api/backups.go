package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
)

// Backups makes copies of the ledger. MakeBackup's errors are *protocol.Problem.
type Backups interface {
	Backups() protocol.BackupStatus
	MakeBackup(ctx context.Context, r protocol.BackupRequest, who string) (protocol.BackupCopy, error)
}

// generationHeader tells in every answer which ledger it is of: the number rises
// where one was restored, and what was told before may be lost.
const generationHeader = "Tillwire-Generation"

func (a *API) stamp(w http.ResponseWriter) {
	w.Header()[generationHeader] = []string{strconv.FormatUint(a.o.Generation(), 10)}
}

// appendGeneration is stamp for the fast path.
func (a *API) appendGeneration(b []byte) []byte {
	return strconv.AppendUint(append(b, "\r\n"+generationHeader+": "...), a.o.Generation(), 10)
}

func (a *API) backups(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, a.o.Backups.Backups())
}

// makeBackup answers when the copy is made and read back, however long that takes.
func (a *API) makeBackup(w http.ResponseWriter, r *http.Request) error {
	var req protocol.BackupRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // where it cannot be set, the port's own limit stands
	_ = c.SetWriteDeadline(time.Time{})
	made, err := a.o.Backups.MakeBackup(r.Context(), req, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, made)
}
