package main

func (a *app) notifyReady()     {}
func (a *app) notifyReloading() {}
