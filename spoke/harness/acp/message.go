package acp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	sdk "github.com/coder/acp-go-sdk"
)

// maxMessage bounds one line of the agent's output: pictures come as base64 within one.
const maxMessage = 16 << 20

// keptBuffer is how much memory for lines is kept between them.
const keptBuffer = 1 << 20

// message is one message of JSON-RPC 2.0: a request (method and id), a notification (method alone) or an answer (id alone).
type message struct {
	JSONRPC string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id,omitempty"`
	Method  string            `json:"method,omitempty"`
	Params  json.RawMessage   `json:"params,omitempty"`
	Result  json.RawMessage   `json:"result,omitempty"`
	Error   *sdk.RequestError `json:"error,omitempty"`
}

// parse reads a line as a message. It is lenient with what agents leave out, but one must be able to tell what the message is.
func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return m, err
	}
	if bytes.Equal(m.ID, []byte("null")) {
		m.ID = nil
	}
	if len(m.ID) > maxID {
		return m, errors.New("its id is too long")
	}
	if m.ID != nil && (m.ID[0] == '{' || m.ID[0] == '[' || m.ID[0] == 't' || m.ID[0] == 'f') {
		return m, errors.New("its id is neither a number nor a string")
	}
	if m.Method == "" && m.ID == nil {
		return m, errors.New("it has neither a method nor an id")
	}
	return m, nil
}

// maxID bounds the ids of the agent's requests, in bytes.
const maxID = 256

// number is the id as the number of one of our requests; 0 when it is none.
func (m *message) number() uint64 {
	n, err := strconv.ParseUint(string(m.ID), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// encode makes the line of a message.
func encode(m message) ([]byte, error) {
	m.JSONRPC = "2.0"
	line, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	return append(line, '\n'), nil
}

// lines reads lines of at most maxMessage bytes.
type lines struct {
	r   *bufio.Reader
	buf []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next line without its end. It is good until the next call. The last line may lack its end: then it comes
// together with io.EOF.
func (l *lines) next() ([]byte, error) {
	if cap(l.buf) > keptBuffer {
		l.buf = nil
	}
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.buf)+len(part) > maxMessage {
			return nil, fmt.Errorf("%w: it sent a message of more than %d MiB", ErrProtocol, maxMessage>>20)
		}
		l.buf = append(l.buf, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSpace(l.buf), err
	}
}
