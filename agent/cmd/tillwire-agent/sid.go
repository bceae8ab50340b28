package main

import (
	"crypto/sha1" //nolint:gosec // Windows derives the identity of a service so
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"
)

// serviceSID is the identity of the virtual account NT SERVICE\name: known before
// the service is, and in every language of Windows.
func serviceSID(name string) string {
	h := sha1.New() //nolint:gosec // see above
	for _, u := range utf16.Encode([]rune(strings.ToUpper(name))) {
		_, _ = h.Write([]byte{byte(u), byte(u >> 8)})
	}
	sum, sid := h.Sum(nil), "S-1-5-80"
	for i := 0; i < len(sum); i += 4 {
		sid += "-" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(sum[i:])), 10)
	}
	return sid
}

// folderRights are, as Windows writes them, full access for the system and for
// administrators, changes for the service, nothing for anybody else; all that
// lies in the folder inherits them, and nothing from above is inherited.
func folderRights() string {
	return "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;" + serviceSID(serviceName) + ")"
}
