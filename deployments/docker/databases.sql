-- Run once by the image of PostgreSQL, when its volume is empty.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
