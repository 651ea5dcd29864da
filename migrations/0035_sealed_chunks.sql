-- What goes in and out of a command is sealed while it waits to be taken. What lies here is of commands that ended with the release before.
delete from app_run_chunks;
