package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
)

// admin is the controller's administrator, made once for each data directory.
type admin struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// ensureAdmin reads the administrator from path, or makes one with a random password.
func ensureAdmin(path string) (admin, error) {
	a, err := readAdmin(path)
	if !errors.Is(err, os.ErrNotExist) {
		return a, err
	}
	a = admin{User: "nave", Password: rand.Text()}
	b, err := json.Marshal(a)
	if err != nil {
		return a, err
	}
	return a, writeFile(path, b)
}

func readAdmin(path string) (admin, error) {
	var a admin
	b, err := os.ReadFile(path)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, err
	}
	if a.User == "" || a.Password == "" {
		return a, errors.New(path + " holds no administrator: bring the file back")
	}
	return a, nil
}
