package protocol

import _ "embed"

//go:embed asyncapi.json
var asyncAPIDocument []byte

// AsyncAPI is the AsyncAPI 3 document of the link: topics and messages. The
// caller must not change it.
func AsyncAPI() []byte { return asyncAPIDocument }
