package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// conversation is one session, kept in a file of HOME.
type conversation struct {
	History []exchange `json:"history"`
	Pending string     `json:"pending,omitempty"` // what is to be remembered, while nobody has said yes or no

	file      string
	workspace string
}

// exchange is what was asked and answered in one turn.
type exchange struct {
	Asked    string `json:"asked"`
	Answered string `json:"answered"`
}

func fileOf(home, id string) string { return filepath.Join(home, ".scribe", id+".json") }

func (c *conversation) id() string { return strings.TrimSuffix(filepath.Base(c.file), ".json") }

func load(home, id string) (*conversation, error) {
	if id == "" || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return nil, fmt.Errorf("%.40q is not the id of a session", id)
	}
	c := &conversation{file: fileOf(home, id)}
	data, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no session %s", id)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("session %s: %w", id, err)
	}
	return c, nil
}

// save writes the file as a whole, so that a process that is killed leaves the former one.
func (c *conversation) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(c.file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(c.file+".new", c.file)
}

func (c *conversation) memoryFile() string { return filepath.Join(c.workspace, "memory.md") }

// memory is what the memory file holds; nothing when there is none.
func (c *conversation) memory() (string, error) {
	data, err := os.ReadFile(c.memoryFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}
