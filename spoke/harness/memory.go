package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/nave-dev/nave/spoke/harness/acp"
)

// Where the memory is, below home: with the agent's own state, so that a checkpoint has both.
const (
	memoryDir  = ".nave"
	memoryFile = memoryDir + "/acp.json"
	maxMemory  = 16 << 10 // bytes
)

// memory is what outlives the agent's program: which of the agent's sessions this session goes on with.
type memory struct {
	Session      string `json:"session_id"` // the agent's own id; empty: there is none that can be loaded
	Agent        string `json:"agent"`
	Version      string `json:"version"`
	Instructions string `json:"instructions"` // hash of what it was told
	Answered     bool   `json:"answered"`     // the agent answered to a turn of it
}

// remember is the memory of a new session.
func remember(talk *acp.Conversation) memory {
	var m memory
	m.Agent, m.Version, _ = strings.Cut(talk.Agent(), "/")
	if talk.CanLoad() {
		m.Session = talk.Session()
	}
	return m
}

// loadMemory reads it. What the agent made of the file is as good as none: the agent owns the directory.
func loadMemory(home string) (memory, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return memory{}, fmt.Errorf("open home: %w", err)
	}
	defer root.Close()
	f, err := root.Open(memoryFile)
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("read the agent's session: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMemory))
	if err != nil {
		return memory{}, fmt.Errorf("read the agent's session: %w", err)
	}
	var m memory
	if json.Unmarshal(text, &m) != nil {
		return memory{}, nil
	}
	return m, nil
}

// keep writes it unless the file says the same: then a turn that changes nothing else leaves the state as it was.
func (m memory) keep(home string) error {
	if now, err := loadMemory(home); err == nil && now == m {
		return nil
	}
	return m.store(home)
}

// store writes it. It need not be durable: a state that was not taken into a checkpoint is not begun from.
func (m memory) store(home string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the agent's session: %w", err)
	}
	root, err := os.OpenRoot(home)
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(memoryDir, 0o700); err != nil {
		return fmt.Errorf("keep the agent's session: %w", err)
	}
	if err := root.WriteFile(memoryFile+".new", text, 0o600); err != nil {
		return fmt.Errorf("keep the agent's session: %w", err)
	}
	if err := root.Rename(memoryFile+".new", memoryFile); err != nil {
		return fmt.Errorf("keep the agent's session: %w", err)
	}
	return nil
}

// hashOf names instructions in a memory; empty for none.
func hashOf(instructions string) string {
	if instructions == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(instructions))
	return hex.EncodeToString(sum[:])
}
